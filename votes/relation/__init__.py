"""How one clip shows another: which frame shows which (`timing`), where its pixels lie (`space`), with what colours
(`colour`), and how sure that is (`measure`). Arrays in, numbers out: no files, no data sets."""

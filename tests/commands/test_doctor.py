import subprocess
import sys
import textwrap

from votes.cli import main
from votes.ops import BACKENDS


def test_says_what_works(capsys):
    assert main(['doctor']) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in BACKENDS)
    assert 'threads' in text


def test_names_a_broken_torchvision_and_lives_with_it(tmp_path):
    """A torchvision whose operators do not load raises RuntimeError when it is imported."""
    (tmp_path / 'torchvision').mkdir()
    (tmp_path / 'torchvision' / '__init__.py').write_text(
        "raise RuntimeError('operator torchvision::nms does not exist')"
    )
    (tmp_path / 'torchvision-0.28.0.dist-info').mkdir()
    (tmp_path / 'torchvision-0.28.0.dist-info' / 'METADATA').write_text(
        'Metadata-Version: 2.1\nName: torchvision\nVersion: 0.28.0\n'
    )
    code = textwrap.dedent(f"""
        import sys
        sys.path.insert(0, {str(tmp_path)!r})
        import torch
        from votes.ops import deform_conv2d
        x = torch.rand(1, 2, 4, 4)
        deform_conv2d(x, torch.zeros(1, 18, 4, 4), None, torch.rand(2, 2, 3, 3), None, padding=1)
        print('quiet until here')
        from votes.cli import main
        main(['doctor'])
    """)
    done = subprocess.run([sys.executable, '-W', 'error', '-c', code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ''
    before, after = done.stdout.split('quiet until here')
    assert before == ''
    assert 'present but broken: operator torchvision::nms does not exist' in after

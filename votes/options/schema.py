"""The keys of an option file: BasicSR's and the VOTES release's names, with their meaning and defaults."""

from __future__ import annotations

import typing
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator

from votes.errors import UserError


def key(what: str, default: Any, **about: Any) -> Any:
    """The field of a key: what it means, its default (... where it is needed), and what else pydantic checks."""
    return Field(default, description=what, **about)


def anytime(what: str, default: Any, **about: Any) -> Any:
    """Of a key that may differ when a run goes on: where things are, how fast they go, what is printed."""
    return key(what, default, **about, json_schema_extra={'anytime': True})


def sections_in(hint: Any) -> list[type[BaseModel]]:
    """The sections that a type holds, however it is nested."""
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        return [hint]
    return [section for part in typing.get_args(hint) for section in sections_in(part)]


class Section(BaseModel):
    """A mapping all of whose keys are known."""

    model_config = ConfigDict(extra='forbid', allow_inf_nan=False)


class Spec(BaseModel):
    """``type: NAME`` and the arguments of its constructor, which are checked against its signature."""

    model_config = ConfigDict(extra='allow')
    type: str

    @property
    def args(self) -> dict[str, Any]:
        """Constructor arguments."""
        return self.__pydantic_extra__ or {}


class MetricSpec(Spec):
    """A metric and the arguments of its function."""

    better: Literal['higher', 'lower'] = key('which values are better', 'higher')


class DatasetOptions(Spec):
    """A dataset: keys of the loader, and the arguments of the dataset itself."""

    name: str | None = anytime('how results call it', None)
    batch_size_per_gpu: int = anytime('samples of a step on each process', 16, ge=1)
    num_worker_per_gpu: int = anytime('processes that read samples', 4, ge=0)
    worker_timeout: float = anytime('seconds without a sample after which they count as frozen; 0: never', 600, ge=0)
    dataset_enlarge_ratio: int = key('how often an epoch visits each clip', 1, ge=1)
    use_shuffle: bool = key('another order in each epoch', True)
    pin_memory: bool = anytime('batches lie where a GPU copies them from fast', True)
    prefetch_mode: Literal['cpu', 'cuda'] | None = anytime('cuda: batches are copied ahead; cpu: no effect', None)


class PathOptions(Section):
    pretrain_network_g: str | None = key('weights to start from or to evaluate', None)
    strict_load_g: bool = key('every key must be there and fit', True)
    param_key_g: str | None = key('which state_dict of the file: params_ema, then params', None)
    pretrain_network_d: str | None = key('weights of the discriminator to start from', None)
    strict_load_d: bool = key('every key must be there and fit', True)
    param_key_d: str | None = key('which state_dict of the file', None)
    resume_state: str | None = key('a training_states/N.state to continue from', None)
    bin_model: str | None = key('weights of the DSM, trained in stage 1', None)
    parts: dict[str, str] = key('part of the network -> file of its weights', {})
    experiments_root: str = key('folder of the runs of `votes train`', 'experiments')
    results_root: str = key('folder of the results of `votes test`', 'results')


class NonfiniteOptions(Section):
    """What to do when a loss or a gradient is NaN or Inf: the update is skipped on every rank, and then ..."""

    patience: int = key('so many in a row are too many', 5, ge=1)
    then: Literal['rollback', 'stop'] = key('back to a good checkpoint, or the end', 'rollback')
    lr_factor: float = key('the learning rate after going back, times this', 0.5, gt=0, le=1)
    rollbacks: int = key('how often, before the run is given up', 3, ge=0)


class PartOptions(Section):
    """What is done with a part of a network, such as `flow` or `dsm`; the network's class says which there are."""

    weights: str | None = anytime('file that this part is loaded from, of it or of a whole', None)
    freeze: bool | int = key('true: it is not trained; N: not in the first N iterations', False)
    lr_mul: float = key('factor on its learning rate', 1.0, ge=0)
    recompute: bool | None = anytime('as train.activation_checkpoint, for this part alone', None)
    offload: bool = anytime('activations wait in the memory of the CPU for the backward pass', False)


class TrainOptions(Section):
    optim_g: Spec = key('optimiser of the network', ...)
    optim_d: Spec | None = key('of the discriminator', None)
    scheduler: Spec | None = key('learning rate over iterations; none: it stays', None)
    pixel_opt: Spec | None = key('a loss for every output that the network supervises', None)
    perceptual_opt: Spec | None = key('a loss on features of another network', None)
    gan_opt: Spec | None = key('a loss that the discriminator gives', None)
    losses: dict[str, Spec] = key(
        'name -> type and arguments of a loss, output (out), target (gt), frame (0), level (false: '
        "true: of LQ's mean level), from_iter (0), until_iter (up to which its weight falls to 0)",
        {},
    )
    parts: dict[str, PartOptions] = key('what is done with parts of the network', {})
    net_d_iters: int = key('the generator is updated every so many iterations', 1, ge=1)
    net_d_init_iters: int = key('iterations in which the discriminator trains alone', 0, ge=0)
    total_iter: int = anytime('iterations of the whole training', ..., ge=1)
    warmup_iter: int = key('iterations of linear warm-up, -1 for none', -1)
    dcn_lr_mul: float = key('factor on the learning rate of deformable convolutions', 1.0, ge=0)
    tsa_iter: int = key('iterations in which EDVR trains its fusion alone', 0)
    lr_mul: dict[str, float] = key("start of a parameter's name -> factor on its learning rate; the longest counts", {})
    accumulate: int = anytime('batches of a step, whose gradients are averaged, as over processes', 1, ge=1)
    grad_clip: float | None = key('largest norm of all gradients together', None, gt=0)
    adaptive_clip: float | None = key("largest norm of an output's gradient, as a part of its weights'", None, gt=0)
    ema_decay: float = key('moving average of the weights; 0 for none', 0, ge=0, lt=1)
    ema_decay_d: float = key('that of the discriminator', 0, ge=0, lt=1)
    amp: Literal['none', 'bf16', 'fp16'] = key('precision of autocast', 'none')
    channels_last: bool = anytime('memory layout of the network', True)
    compile: bool = anytime('torch.compile of blocks; where that fails, a notice and none', False)
    activation_checkpoint: bool = anytime('less memory: parts are computed again for gradients', False)
    static_graph: bool = anytime('DistributedDataParallel may assume the same graph each step', False)
    nonfinite: NonfiniteOptions = anytime('when NaN or Inf appear', NonfiniteOptions())


class ValOptions(Section):
    val_freq: int = key('iterations between validations', 5000, ge=1)
    patience: int = key('training ends after so many validations without gain; 0: never', 0, ge=0)
    save_img: bool = key('write every restored frame', False)
    suffix: str | None = key('added to the names of saved pictures', None)
    any_grid: bool = key('test also where pixels of LQ lie elsewhere (BI, BD) than in the training data', False)
    metrics: dict[str, MetricSpec] = key(
        'name -> type and arguments of a metric; the first one decides which weights are best',
        {
            name: MetricSpec.model_validate({'type': f'calculate_{name}', 'crop_border': 2, 'test_y_channel': True})
            for name in ('psnr', 'ssim')
        },
    )


class LoggerOptions(Section):
    print_freq: int = key('iterations between lines of progress', 100, ge=1)
    save_checkpoint_freq: int = key('iterations between checkpoints', 5000, ge=1)
    keep_last: int = key('checkpoints to keep, 0 for all', 0, ge=0)
    keep_best: bool = key('models/net_g_best.pth: best first metric of the first val set', True)
    background_save: bool = key('a thread writes checkpoints', False)
    use_tb_logger: bool = key('TensorBoard files', True)


class DistOptions(Section):
    backend: Literal['nccl', 'gloo'] = key('gloo is taken where there is no GPU', 'nccl')
    port: int = key('of the first process, where the launcher names none', 29500)
    first_timeout: float = key('seconds to wait for other ranks up to the first step', 1800, gt=0)
    timeout: float = key('seconds to wait for other ranks after it', 600, gt=0)


class Options(Section):
    """A whole option file."""

    name: str = anytime('folder under experiments/ or results/', ..., min_length=1, pattern=r'^[^/\\]+$')
    model_type: str = key('RestorationModel, or a name of BasicSR or the release: all are one task', ...)
    scale: int = key('GT size / LQ size', ..., ge=1, le=4)
    num_gpu: Annotated[int, Field(ge=0)] | Literal['auto'] = anytime(
        '0 is the CPU; the number of processes comes from the launcher', 'auto'
    )
    manual_seed: int = key('of weights, samples and everything that is drawn', 0, ge=0)
    deterministic: bool = key('only deterministic algorithms: same hardware, same weights', False)
    debug: bool = anytime('prints every step, validates and saves every 8', False)
    datasets: dict[str, DatasetOptions] = key('train, val, val_2 ..., test, test_1 ...', ...)
    network_g: Spec = key('the network that restores', ...)
    network_d: Spec | None = key('a discriminator', None)
    path: PathOptions = anytime('files and folders', PathOptions())
    train: TrainOptions | None = key('how it is trained', None)
    val: ValOptions | None = anytime('how it is evaluated', None)
    logger: LoggerOptions = anytime('what is written while training', LoggerOptions())
    dist_params: DistOptions = anytime('several processes', DistOptions())
    _notices: list[str] = PrivateAttr(default_factory=list)

    @field_validator('name')
    @classmethod
    def _is_a_folder_of_its_own(cls, name: str) -> str:
        if name.startswith('.') or name != name.strip() or not name.isprintable():
            raise ValueError('is the name of a folder: it begins with no dot and no space')
        return name

    @property
    def notices(self) -> list[str]:
        """What a program tells its user before it starts, a line each."""
        return self._notices

    @property
    def training(self) -> TrainOptions:
        """The section `train`, which a file for training has."""
        if self.train is None:
            raise UserError('these options are not for training', where=self.name, fix='a section train:')
        return self.train

    @property
    def validation(self) -> ValOptions:
        """The section `val`, with its defaults where the file has none."""
        return self.val or ValOptions()

    def resolved(self) -> dict[str, Any]:
        """Plain data that reads back as the same options."""
        return self.model_dump(mode='json', exclude_none=True)

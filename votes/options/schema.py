"""The keys of an option file: BasicSR's and the VOTES release's names, with their meaning and defaults."""

from __future__ import annotations

import typing
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator

from votes.errors import UserError


def anytime(**about: Any) -> Any:
    """The field of a key that may differ when a run goes on: where things are, how fast they go, what is printed."""
    return Field(**about, json_schema_extra={'anytime': True})


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

    better: Literal['higher', 'lower'] = Field(default='higher', description='which values are better')


class DatasetOptions(Spec):
    """A dataset: keys of the loader, and the arguments of the dataset itself."""

    name: str | None = anytime(default=None, description='how results call it')
    batch_size_per_gpu: int = anytime(default=16, ge=1, description='samples of a step on each process')
    num_worker_per_gpu: int = anytime(default=4, ge=0, description='processes that read samples')
    worker_timeout: float = anytime(
        default=600, ge=0, description='seconds without a sample after which they count as frozen; 0: never'
    )
    dataset_enlarge_ratio: int = Field(default=1, ge=1, description='how often an epoch visits each clip')
    use_shuffle: bool = Field(default=True, description='another order in each epoch')
    pin_memory: bool = anytime(default=True, description='batches lie where a GPU copies them from fast')
    prefetch_mode: Literal['cpu', 'cuda'] | None = anytime(
        default=None, description='cuda: the next batch is copied while this one is computed with; cpu: no effect'
    )


class PathOptions(Section):
    pretrain_network_g: str | None = Field(default=None, description='weights to start from or to evaluate')
    strict_load_g: bool = Field(default=True, description='every key must be there and fit')
    param_key_g: str | None = Field(default=None, description='which state_dict of the file: params_ema, then params')
    pretrain_network_d: str | None = Field(default=None, description='weights of the discriminator to start from')
    strict_load_d: bool = Field(default=True, description='every key must be there and fit')
    param_key_d: str | None = Field(default=None, description='which state_dict of the file')
    resume_state: str | None = Field(default=None, description='a training_states/N.state to continue from')
    bin_model: str | None = Field(default=None, description='weights of the DSM, trained in stage 1')
    parts: dict[str, str] = Field(default_factory=dict, description='part of the network -> file of its weights')
    experiments_root: str = Field(default='experiments', description='folder of the runs of `votes train`')
    results_root: str = Field(default='results', description='folder of the results of `votes test`')


class NonfiniteOptions(Section):
    """What to do when a loss or a gradient is NaN or Inf: the update is skipped on every rank, and then ..."""

    patience: int = Field(default=5, ge=1, description='so many in a row are too many')
    then: Literal['rollback', 'stop'] = Field(default='rollback', description='back to a good checkpoint, or the end')
    lr_factor: float = Field(default=0.5, gt=0, le=1, description='the learning rate after going back, times this')
    rollbacks: int = Field(default=3, ge=0, description='how often, before the run is given up')


class PartOptions(Section):
    """What is done with a part of a network, such as `flow` or `dsm`; the network's class says which there are."""

    weights: str | None = anytime(default=None, description='file that this part is loaded from, of it or of a whole')
    freeze: bool | int = Field(default=False, description='true: it is not trained; N: not in the first N iterations')
    lr_mul: float = Field(default=1.0, ge=0, description='factor on its learning rate')
    recompute: bool | None = anytime(default=None, description='as train.activation_checkpoint, for this part alone')
    offload: bool = anytime(
        default=False, description='activations wait in the memory of the CPU for the backward pass'
    )


class TrainOptions(Section):
    optim_g: Spec = Field(description='optimiser of the network')
    optim_d: Spec | None = Field(default=None, description='of the discriminator')
    scheduler: Spec | None = Field(default=None, description='learning rate over iterations; none: it stays')
    pixel_opt: Spec | None = Field(default=None, description='a loss for every output that the network supervises')
    perceptual_opt: Spec | None = Field(default=None, description='a loss on features of another network')
    gan_opt: Spec | None = Field(default=None, description='a loss that the discriminator gives')
    losses: dict[str, Spec] = Field(
        default_factory=dict,
        description='name -> type and arguments of a loss, output (out), target (gt), frame (0), level (false: '
        "true: of LQ's mean level), from_iter (0), until_iter (up to which its weight falls to 0)",
    )
    parts: dict[str, PartOptions] = Field(default_factory=dict, description='what is done with parts of the network')
    net_d_iters: int = Field(default=1, ge=1, description='the generator is updated every so many iterations')
    net_d_init_iters: int = Field(default=0, ge=0, description='iterations in which the discriminator trains alone')
    total_iter: int = anytime(ge=1, description='iterations of the whole training')
    warmup_iter: int = Field(default=-1, description='iterations of linear warm-up, -1 for none')
    dcn_lr_mul: float = Field(default=1.0, ge=0, description='factor on the learning rate of deformable convolutions')
    tsa_iter: int = Field(default=0, description='iterations in which EDVR trains its fusion alone')
    lr_mul: dict[str, float] = Field(
        default_factory=dict,
        description="start of a parameter's name -> factor on its learning rate; the longest counts",
    )
    accumulate: int = anytime(
        default=1,
        ge=1,
        description='batches of batch_size_per_gpu in one step: gradients are averaged, as over processes',
    )
    grad_clip: float | None = Field(default=None, gt=0, description='largest norm of all gradients together')
    adaptive_clip: float | None = Field(
        default=None, gt=0, description='largest norm of a gradient, a part of that of its weights, for each output'
    )
    ema_decay: float = Field(default=0, ge=0, lt=1, description='moving average of the weights; 0 for none')
    ema_decay_d: float = Field(default=0, ge=0, lt=1, description='that of the discriminator')
    amp: Literal['none', 'bf16', 'fp16'] = Field(default='none', description='precision of autocast')
    channels_last: bool = anytime(default=True, description='memory layout of the network')
    compile: bool = anytime(default=False, description='torch.compile of blocks; where that fails, a notice and none')
    activation_checkpoint: bool = anytime(
        default=False, description='less memory: parts are computed again for gradients'
    )
    static_graph: bool = anytime(
        default=False, description='DistributedDataParallel may assume the same graph each step'
    )
    nonfinite: NonfiniteOptions = anytime(default_factory=NonfiniteOptions, description='when NaN or Inf appear')


class ValOptions(Section):
    val_freq: int = Field(default=5000, ge=1, description='iterations between validations')
    patience: int = Field(default=0, ge=0, description='training ends after so many validations without gain; 0: never')
    save_img: bool = Field(default=False, description='write every restored frame')
    suffix: str | None = Field(default=None, description='added to the names of saved pictures')
    any_grid: bool = Field(
        default=False, description='test also where pixels of LQ lie elsewhere (BI, BD) than in the training data'
    )
    metrics: dict[str, MetricSpec] = Field(
        default_factory=lambda: {
            name: MetricSpec.model_validate({'type': f'calculate_{name}', 'crop_border': 2, 'test_y_channel': True})
            for name in ('psnr', 'ssim')
        },
        description='name -> type and arguments of a metric; the first one decides which weights are best',
    )


class LoggerOptions(Section):
    print_freq: int = Field(default=100, ge=1, description='iterations between lines of progress')
    save_checkpoint_freq: int = Field(default=5000, ge=1, description='iterations between checkpoints')
    keep_last: int = Field(default=0, ge=0, description='checkpoints to keep, 0 for all')
    keep_best: bool = Field(default=True, description='models/net_g_best.pth: best first metric of the first val set')
    background_save: bool = Field(default=False, description='a thread writes checkpoints')
    use_tb_logger: bool = Field(default=True, description='TensorBoard files')


class DistOptions(Section):
    backend: Literal['nccl', 'gloo'] = Field(default='nccl', description='gloo is taken where there is no GPU')
    port: int = Field(default=29500, description='of the first process, where the launcher names none')
    first_timeout: float = Field(default=1800, gt=0, description='seconds to wait for other ranks up to the first step')
    timeout: float = Field(default=600, gt=0, description='seconds to wait for other ranks after it')


class Options(Section):
    """A whole option file."""

    name: str = anytime(min_length=1, pattern=r'^[^/\\]+$', description='folder under experiments/ or results/')
    model_type: str = Field(description='RestorationModel, or a name of BasicSR or the release: all are one task')
    scale: int = Field(ge=1, le=4, description='GT size / LQ size')
    num_gpu: Annotated[int, Field(ge=0)] | Literal['auto'] = anytime(
        default='auto', description='0 is the CPU; the number of processes comes from the launcher'
    )
    manual_seed: int = Field(default=0, ge=0, description='of weights, samples and everything that is drawn')
    deterministic: bool = Field(default=False, description='only deterministic algorithms: same hardware, same weights')
    debug: bool = anytime(default=False, description='prints every step, validates and saves every 8')
    datasets: dict[str, DatasetOptions] = Field(description='train, val, val_2 ..., test, test_1 ...')
    network_g: Spec = Field(description='the network that restores')
    network_d: Spec | None = Field(default=None, description='a discriminator')
    path: PathOptions = anytime(default_factory=PathOptions, description='files and folders')
    train: TrainOptions | None = Field(default=None, description='how it is trained')
    val: ValOptions | None = anytime(default=None, description='how it is evaluated')
    logger: LoggerOptions = anytime(default_factory=LoggerOptions, description='what is written while training')
    dist_params: DistOptions = anytime(default_factory=DistOptions, description='several processes')
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

    @notices.setter
    def notices(self, notices: list[str]) -> None:
        self._notices = notices

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

"""Stage 2: the restoration network, VOTES with its DSM frozen, or another network of windows such as EDVR."""

from __future__ import annotations

from votes import checkpoint
from votes.data.sensed import check_dsm
from votes.models.restoration_model import RestorationModel


class VOTESModel(RestorationModel):
    """One pixel loss on the centre frame (Charbonnier in the paper). The DSM comes from `bin_model` (stage 1)."""

    def load_weights(self) -> None:
        path = self.opt.path.bin_model
        if path:
            checkpoint.load_network(self.net.get_submodule('bin'), path, prefix='bin.')
            self.messages.append(f'DSM: {path}, frozen')
        super().load_weights()  # last: a whole VOTES has a DSM of its own, the one it was trained with
        stored = self.opt.datasets['train'].args.get('dataroot_dfm') if self.opt.train else None
        if stored:
            check_dsm(stored, self.net.get_submodule('bin'))
            self.messages.append(f'degradation maps: {stored}, the DSM is not run in training')

"""Deformable convolution: one public function, several backends, one pure-torch twin."""

from votes.ops.deform_conv import (
    BACKENDS,
    backend_problem,
    choose_backend,
    counted_by_shape,
    deform_conv2d,
    fused_deform_conv2d,
    offsets_watched,
    watching,
)

__all__ = [
    'BACKENDS',
    'backend_problem',
    'choose_backend',
    'counted_by_shape',
    'deform_conv2d',
    'fused_deform_conv2d',
    'offsets_watched',
    'watching',
]

"""Deformable convolution: one public function, several backends, one pure-torch twin."""

from votes.ops.deform_conv import BACKENDS, backend_problem, deform_conv2d

__all__ = ['BACKENDS', 'backend_problem', 'deform_conv2d']

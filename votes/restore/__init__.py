"""A trained network over a whole video."""

from votes.restore.video import Summary, check_paths, restore_video

__all__ = ['Summary', 'check_paths', 'restore_video']

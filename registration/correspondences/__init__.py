"""Constraints on a pose from video frames: appearance, outline, shading and point tracks."""

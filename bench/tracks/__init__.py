"""The two tracks: what differs between students that classify and students that generate."""

from bench.tracks.classification import CLASSIFICATION
from bench.tracks.generation import GENERATION
from bench.tracks.track import Track

TRACKS = {track.name: track for track in (CLASSIFICATION, GENERATION)}

__all__ = ["CLASSIFICATION", "GENERATION", "TRACKS", "Track"]

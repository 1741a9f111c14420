"""Images with faces, and the samples that the stages of MTCNN are trained with."""

from .augment import FaceAugment
from .pictures import open_faces
from .samples import FaceSamples, prepare

__all__ = ["FaceAugment", "FaceSamples", "open_faces", "prepare"]

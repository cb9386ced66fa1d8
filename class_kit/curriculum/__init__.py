"""The curriculum: schedules λ_k, intensities γ_k, the epoch plan, and the sampler that hands it to any trainer."""

from class_kit.curriculum.plan import EpochPlan as EpochPlan
from class_kit.curriculum.plan import NeverFullWarning as NeverFullWarning
from class_kit.curriculum.sampler import CurriculumBatchSampler as CurriculumBatchSampler
from class_kit.curriculum.sampler import lr_factor as lr_factor
from class_kit.curriculum.schedules import LinearSchedule as LinearSchedule
from class_kit.curriculum.schedules import Schedule as Schedule
from class_kit.curriculum.schedules import make_schedule as make_schedule

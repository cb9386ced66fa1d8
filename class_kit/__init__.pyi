"""The public names and where each is defined; class_kit/__init__.py loads one when it is first used."""

from .agreement import PairAudit as PairAudit
from .agreement import audit_pairs as audit_pairs
from .agreement import pair_agreement as pair_agreement
from .backbones import available_backbones as available_backbones
from .backbones import create_backbone as create_backbone
from .backbones import register_backbone as register_backbone
from .curriculum import CurriculumBatchSampler as CurriculumBatchSampler
from .curriculum import EpochPlan as EpochPlan
from .curriculum import LinearSchedule as LinearSchedule
from .curriculum import lr_factor as lr_factor
from .curriculum import make_schedule as make_schedule
from .curriculum.controls import make_plan as make_plan
from .curriculum.duplicates import duplicate_labels as duplicate_labels
from .curriculum.duplicates import duplicate_mask as duplicate_mask
from .curriculum.duplicates import one_of_each as one_of_each
from .curriculum.feedback import LossPrunedPlan as LossPrunedPlan
from .curriculum.feedback import MetricPacing as MetricPacing
from .curriculum.feedback import PacedPlan as PacedPlan
from .curriculum.feedback import SelfPacedPlan as SelfPacedPlan
from .curriculum.hard_batches import HardnessSchedule as HardnessSchedule
from .curriculum.hard_batches import locality_order as locality_order
from .difficulty import difficulty_order as difficulty_order
from .difficulty import sigma_for_quantile as sigma_for_quantile
from .errors import InputError as InputError
from .molecules import embed_molecules as embed_molecules
from .molecules import mol2vec_coverage as mol2vec_coverage
from .neighbours import neighbour_counts as neighbour_counts
from .pairs import PairSet as PairSet
from .pairs import load_molecules as load_molecules
from .pairs import load_pairs as load_pairs
from .retrieval import export_trec as export_trec
from .retrieval import retrieval_metrics as retrieval_metrics
from .retrieval import retrieval_ranks as retrieval_ranks
from .task import Task as Task
from .task import load_task as load_task
from .text import embed_text as embed_text
from .training import TrainingConfig as TrainingConfig
from .training import train as train

__version__: str

"""Load, identify and save causal language models from any source, through one interface."""

from canonbench.models.architecture import (
    UNLIMITED,
    attention_window,
    before_output_layer,
    context_length,
    most_in_front,
    output_layer,
    readable_ids,
    rope_limit,
    text_config,
    tokens_in_front,
    vocabulary_size,
)
from canonbench.models.artefacts.artefact import base_of_edit, is_artefact, open_artefact, require_base, save_artefact
from canonbench.models.artefacts.delta import as_scored, stored_values
from canonbench.models.artefacts.edit_file import EditFile, NotKept
from canonbench.models.artefacts.in_context import InContext
from canonbench.models.artefacts.peft import require_all_loaded
from canonbench.models.artefacts.proof import Answers, Skeleton, answers, differ
from canonbench.models.artefacts.senses import is_of_edit, stored_senses
from canonbench.models.backpack.convert import PUBLISHED_PARAMETERS, convert_backpack
from canonbench.models.backpack.model import BackpackForCausalLM
from canonbench.models.checkpoint import Trust
from canonbench.models.demo import SHIPPED, shipped_path
from canonbench.models.ensemble.model import mixed
from canonbench.models.fingerprint import VOLATILE, Fingerprint, config_hash, fingerprint
from canonbench.models.folders import ADAPTER_CONFIG, CONFIG, EDIT_FILE, look_inside
from canonbench.models.load import LoadedModel, Loading, base_name, edit_of, in_memory, load_model, require_unchanged
from canonbench.models.load_errors import first_lines, one_line, quiet_transformers
from canonbench.models.onednn_linear import fast_products
from canonbench.models.sizes import turning_points
from canonbench.models.source import Source

__all__ = [
    "ADAPTER_CONFIG",
    "CONFIG",
    "EDIT_FILE",
    "PUBLISHED_PARAMETERS",
    "SHIPPED",
    "UNLIMITED",
    "VOLATILE",
    "Answers",
    "BackpackForCausalLM",
    "EditFile",
    "Fingerprint",
    "InContext",
    "LoadedModel",
    "Loading",
    "NotKept",
    "Skeleton",
    "Source",
    "Trust",
    "answers",
    "as_scored",
    "attention_window",
    "base_name",
    "base_of_edit",
    "before_output_layer",
    "config_hash",
    "context_length",
    "convert_backpack",
    "differ",
    "edit_of",
    "fast_products",
    "fingerprint",
    "first_lines",
    "in_memory",
    "is_artefact",
    "is_of_edit",
    "load_model",
    "look_inside",
    "mixed",
    "most_in_front",
    "one_line",
    "open_artefact",
    "output_layer",
    "quiet_transformers",
    "readable_ids",
    "require_all_loaded",
    "require_base",
    "require_unchanged",
    "rope_limit",
    "save_artefact",
    "shipped_path",
    "stored_senses",
    "stored_values",
    "text_config",
    "tokens_in_front",
    "turning_points",
    "vocabulary_size",
]

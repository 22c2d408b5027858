"""The Backpack as a model of transformers: masks, caches, labels, checkpointing, dtypes, files."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub.errors import StrictDataclassClassValidationError
from safetensors import safe_open
from torch import Tensor
from transformers import AutoModel, AutoModelForCausalLM, DynamicCache, GPT2LMHeadModel, StaticCache
from transformers.cache_utils import DynamicSlidingWindowLayer

from canonbench.models.backpack.model import BackpackForCausalLM, BackpackModel
from canonbench.models.backpack.senses import BackpackConfig
from tiny_models import VOCABULARY, tiny_model

SENSES = 4


def backpack(seed: int = 0, **config: Any) -> Any:
    return tiny_model("backpack", seed=seed, **config)


def edited(model: Any) -> Any:
    """Some senses moved, those of the first tokens of ``tokens()`` among them."""
    words = tokens()[0, :3]
    edit = model.edit_senses(torch.cat([words, torch.tensor([VOCABULARY - 1])]), torch.tensor([1, 2, 2, 0]))
    edit.deltas.data.normal_(generator=torch.Generator().manual_seed(1))
    return model


def tokens(rows: int = 2, length: int = 12, seed: int = 3) -> Tensor:
    return torch.randint(2, VOCABULARY - 1, (rows, length), generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def logits(model: Any, ids: Tensor, **inputs: Any) -> Tensor:
    found: Tensor = model(input_ids=ids, **inputs).logits
    return found


def assert_same(one: Tensor, other: Tensor, atol: float = 1e-5) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=atol)


def test_the_output_is_the_formula() -> None:
    """Written out with loops over positions and senses, and the GPT-2 as transformers has it."""
    model = backpack().double()
    ids = tokens(1, 6)
    trunk = GPT2LMHeadModel(model.config).double().eval()
    trunk.transformer.load_state_dict(model.backpack.gpt2_model.state_dict())
    hidden = trunk.transformer(ids).last_hidden_state[0]
    both = model.backpack.sense_weight_net.c_attn(hidden).view(6, 2, SENSES, 32 // SENSES)
    out = torch.zeros(6, 32, dtype=torch.float64)
    for sense in range(SENSES):
        for t in range(6):
            scores = torch.stack([both[t, 0, sense] @ both[s, 1, sense] for s in range(t + 1)]) / math.sqrt(32 / SENSES)
            for s, weight in enumerate(scores.softmax(0)):
                out[t] += weight * model.senses(ids[0, s])[sense]
    assert_same(logits(model, ids)[0], (out @ model.backpack.gpt2_model.wte.weight.T).detach(), 1e-10)


def test_senses_are_those_of_the_word_alone_whatever_the_shape() -> None:
    model = backpack()
    ids = tokens()
    senses = model.senses(ids)
    assert senses.shape == (2, 12, SENSES, 32)
    assert_same(senses[1, 4], model.senses(ids[1, 4]))
    assert_same(model.senses(ids.flip(0, 1)), senses.flip(0, 1))


def test_the_weights_of_senses_come_on_request_and_sum_to_one_over_what_is_seen() -> None:
    model = backpack()
    assert model(tokens()).contextualization is None
    weights = model(tokens(), output_contextualization=True).contextualization
    assert weights.shape == (2, SENSES, 12, 12)
    assert_same(weights.sum(-1), torch.ones(2, SENSES, 12))
    assert weights.triu(1).abs().max() == 0


def test_right_padding_is_not_seen_and_left_padding_neither() -> None:
    model, ids = edited(backpack()), tokens(1, 7)
    alone, padding = logits(model, ids), torch.zeros(1, 3, dtype=torch.long)
    mask = torch.tensor([[1] * 7 + [0] * 3])
    right = logits(model, torch.cat([ids, padding], 1), attention_mask=mask)
    left = logits(
        model,
        torch.cat([padding, ids], 1),
        attention_mask=mask.flip(1),
        position_ids=torch.tensor([[0] * 3 + list(range(7))]),
    )
    assert_same(right[:, :7], alone)
    assert_same(left[:, 3:], alone)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("kind", ["boolean", "additive"])
def test_a_mask_of_ones_own_says_what_is_seen(kind: str, attention: str) -> None:
    """Two continuations of one stem in one row: neither sees the other."""
    model = backpack(attn_implementation=attention)
    assert model.config._attn_implementation == attention
    stem, left, right = tokens(1, 4), tokens(1, 3, seed=4), tokens(1, 2, seed=5)
    visible = torch.ones(9, 9, dtype=torch.bool).tril()
    visible[7:, 4:7] = False
    mask = visible[None, None]
    if kind == "additive":
        mask = torch.zeros(1, 1, 9, 9).masked_fill(~mask, torch.finfo(torch.float32).min)
    positions = torch.tensor([[0, 1, 2, 3, 4, 5, 6, 4, 5]])
    found = logits(model, torch.cat([stem, left, right], 1), attention_mask=mask, position_ids=positions)
    assert_same(found[:, :7], logits(model, torch.cat([stem, left], 1)))
    assert_same(found[:, 7:], logits(model, torch.cat([stem, right], 1))[:, 4:])


def test_packed_sequences_do_not_see_each_other() -> None:
    model = backpack()
    one, other = tokens(1, 5), tokens(1, 4, seed=6)
    positions = torch.tensor([[0, 1, 2, 3, 4, 0, 1, 2, 3]])
    found = logits(model, torch.cat([one, other], 1), position_ids=positions, use_cache=False)
    assert_same(found, torch.cat([logits(model, one), logits(model, other)], 1))


@pytest.mark.parametrize("cache", [lambda _config: DynamicCache(), lambda config: DynamicCache(config=config),
                                   lambda config: StaticCache(config, max_cache_len=20)],
                         ids=["dynamic", "dynamic by configuration", "static"])  # fmt: skip
def test_a_sequence_in_parts_is_the_sequence(cache: Any) -> None:
    model, ids = edited(backpack()), tokens()
    past = cache(model.config)
    parts = [logits(model, part, past_key_values=past, use_cache=True) for part in ids.split([5, 1, 4, 2], 1)]
    assert_same(torch.cat(parts, 1), logits(model, ids, use_cache=False))
    assert int(past.get_seq_length()) == 12
    past.reset()
    assert_same(logits(model, ids[:, :5], past_key_values=past, use_cache=True), parts[0])


def test_a_cache_without_the_senses_of_its_tokens_is_refused() -> None:
    model = backpack()
    past = DynamicCache(config=model.config)
    model.backpack.gpt2_model(tokens(), past_key_values=past, use_cache=True)
    with pytest.raises(ValueError, match=r"^past_key_values holds tokens without their senses"):
        model(tokens(), past_key_values=past)


def test_a_cache_that_forgets_is_refused() -> None:
    model = backpack()
    past = DynamicCache(config=model.config)
    past.layers = [DynamicSlidingWindowLayer(sliding_window=4) for _ in past.layers]
    with pytest.raises(ValueError, match=r"^a DynamicSlidingWindowLayer cannot hold senses; let past_key_values be a"):
        model(tokens(), past_key_values=past)


@pytest.mark.parametrize("how", [{}, {"num_beams": 3}, {"cache_implementation": "static"}], ids=str)
def test_generation_with_a_cache_writes_what_it_writes_without(how: dict[str, Any]) -> None:
    model, ids = edited(backpack()), tokens()
    mask = torch.ones_like(ids)
    mask[1, :4] = 0  # padded on the left
    settings = {
        "attention_mask": mask,
        "max_new_tokens": 10,
        "min_new_tokens": 10,
        "do_sample": False,
        "pad_token_id": 0,
    }
    plain = {key: value for key, value in how.items() if key == "num_beams"}
    expected = model.generate(ids, **settings, **plain, use_cache=False)
    for _ in range(2):  # a static cache may be used again
        assert torch.equal(model.generate(ids, **settings, **how), expected)
    alone = model.generate(ids[1:, 4:], **settings | {"attention_mask": mask[1:, 4:]}, **plain)
    assert torch.equal(expected[1, 4:], alone[0])


@pytest.mark.parametrize("kept", [1, 3, torch.tensor([0, 4, 11])], ids=str)
def test_logits_can_be_had_of_some_positions_only(kept: int | Tensor) -> None:
    model = backpack()
    rows = slice(-kept, None) if isinstance(kept, int) else kept
    assert_same(logits(model, tokens(), logits_to_keep=kept), logits(model, tokens())[:, rows])


def test_the_loss_is_the_mean_over_the_labels_that_are_wanted() -> None:
    model, ids = backpack(), tokens()
    labels = ids.clone()
    labels[0, :6] = -100
    log_probs = logits(model, ids)[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
    wanted = torch.cat([log_probs[0, 5:], log_probs[1]])
    assert_same(model(ids, labels=labels).loss, -wanted.mean())
    assert_same(model(ids, labels=labels, num_items_in_batch=4).loss, -wanted.sum() / 4)


def test_checkpointing_changes_no_gradient_and_keeps_less() -> None:
    def gradients(model: Any) -> tuple[list[Tensor], int]:
        kept = 0

        def keep(tensor: Tensor) -> Tensor:
            nonlocal kept
            kept += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = model(tokens(), labels=tokens()).loss
        loss.backward()
        assert all(parameter.grad is not None for parameter in model.parameters())
        return [parameter.grad for parameter in model.parameters()], kept

    dry = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    one, other = edited(backpack(**dry)).train(), edited(backpack(**dry)).train()
    other.activation_checkpointing_enable()
    (plain, much), (checkpointed, little) = gradients(one), gradients(other)
    torch.testing.assert_close(checkpointed, plain, rtol=1e-5, atol=1e-6)
    assert little < much / 3
    (_, trunk_only) = gradients(without_own_checkpoints(copy.deepcopy(other)))
    assert little < trunk_only


def without_own_checkpoints(model: Any) -> Any:
    model.zero_grad()
    model.backpack.gradient_checkpointing = False
    return model


def test_every_attention_gives_the_same_logits_and_the_gpt2s_states_come_on_request() -> None:
    ids = tokens()
    mask = torch.ones_like(ids)
    mask[0, 9:] = 0
    eager, sdpa = (backpack(attn_implementation=name) for name in ("eager", "sdpa"))
    assert_same(logits(eager, ids, attention_mask=mask)[mask > 0], logits(sdpa, ids, attention_mask=mask)[mask > 0])
    found = eager(ids, output_attentions=True, output_hidden_states=True)
    trunk = eager.backpack.gpt2_model(ids, output_attentions=True, output_hidden_states=True)
    assert len(found.attentions) == 2
    assert len(found.hidden_states) == 3
    for one, other in zip(found.attentions + found.hidden_states, trunk.attentions + trunk.hidden_states, strict=True):
        assert torch.equal(one, other)
    assert eager(ids).attentions is eager(ids).hidden_states is None


@pytest.mark.parametrize("passed", [True, False], ids=["asked for", "configured"])
def test_a_tuple_can_be_had_instead(passed: bool) -> None:
    model = backpack() if passed else backpack(return_dict=False)
    found = model(tokens(), use_cache=False, **({"return_dict": False} if passed else {}))
    assert isinstance(found, tuple)
    assert torch.equal(found[0], logits(backpack(), tokens()))


def test_embeddings_can_be_given_but_edited_senses_belong_to_words() -> None:
    model, ids = backpack(), tokens()
    embeddings = model.get_input_embeddings()(ids)
    assert_same(model(inputs_embeds=embeddings).logits, model(ids).logits)
    for wrong in ({}, {"input_ids": ids, "inputs_embeds": embeddings}):
        with pytest.raises(ValueError, match=r"^give either input_ids or inputs_embeds$"):
            model(**wrong)
    with pytest.raises(ValueError, match=r"^edited senses are those of words: give input_ids"):
        edited(model)(inputs_embeds=embeddings)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-4), (torch.bfloat16, 0.3), (torch.float16, 0.05)])
def test_every_dtype_is_the_model_up_to_its_rounding(dtype: torch.dtype, tolerance: float) -> None:
    model, ids = edited(backpack()), tokens()
    wide = logits(model, ids)
    mask = torch.ones_like(ids)
    mask[0, :2] = 0
    cast = model.to(dtype)
    found = logits(cast, ids)
    assert found.dtype == dtype
    assert_same(found.float(), wide, tolerance * float(wide.std()))
    assert logits(cast, ids, attention_mask=mask).isfinite().all()


def test_an_edit_adds_its_vectors_to_the_senses_it_names_and_to_no_other() -> None:
    plain, model = backpack(), edited(backpack())
    everything = torch.arange(VOCABULARY)
    moved = model.senses(everything) - plain.senses(everything)
    edit = model.backpack.sense_edit
    expected = torch.zeros_like(moved)
    expected[edit.token_ids, edit.sense_ids] = edit.deltas
    assert_same(moved, expected)
    assert torch.equal(model.senses(everything, edited=False), plain.senses(everything))
    model(tokens()).logits.sum().backward()
    untouched = edit.deltas.grad.abs().sum(-1) == 0
    assert untouched.tolist() == [False, False, False, True]  # the last word does not occur


def test_what_cannot_be_edited_is_refused() -> None:
    def ids(*numbers: int) -> Tensor:
        return torch.tensor(numbers, dtype=torch.long)

    model = backpack()
    for tokens_, senses, says in [
        (ids(3, 3), ids(1, 1), "a sense is named twice"),
        (ids(3), ids(SENSES), "the model has 4 senses of 384 tokens"),
        (ids(VOCABULARY), ids(0), "the model has 4 senses of 384 tokens"),
        (ids(), ids(), "no sense is named"),
    ]:
        with pytest.raises(ValueError, match=f"^{says}$"):
            model.edit_senses(tokens_, senses)
    with pytest.raises(ValueError, match=r"^the model has edited senses already$"):
        edited(model).edit_senses(ids(3), ids(3))


@pytest.mark.parametrize("edit", [False, True], ids=["plain", "edited"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_saved_comes_back_bit_for_bit_with_its_ties(edit: bool, dtype: torch.dtype, tmp_path: Path) -> None:
    model = backpack().to(dtype)
    if edit:
        edited(model)
    model.save_pretrained(tmp_path)
    opened = AutoModelForCausalLM.from_pretrained(tmp_path, dtype="auto")
    assert type(opened) is BackpackForCausalLM
    assert opened.dtype == dtype
    assert torch.equal(logits(opened, tokens()), logits(model, tokens()))
    assert opened.lm_head.weight is opened.get_input_embeddings().weight
    body = AutoModel.from_pretrained(tmp_path, dtype="auto")
    assert type(body) is BackpackModel
    assert torch.equal(body(tokens()).last_hidden_state, model.backpack(tokens()).last_hidden_state)


def test_the_tensors_have_the_published_names_and_tied_ones_are_stored_once(tmp_path: Path) -> None:
    backpack().save_pretrained(tmp_path)
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        names = set(file.keys())
    of_senses = {name.removeprefix("backpack.") for name in names if not name.startswith("backpack.gpt2_model.")}
    both = ("weight", "bias")
    modules = ["sense_network.ln", "sense_network.block.ln_1", "sense_network.block.ln_2",
               "sense_network.block.mlp.c_fc", "sense_network.block.mlp.c_proj", "sense_network.final_mlp.c_fc",
               "sense_network.final_mlp.c_proj", "sense_weight_net.c_attn"]  # fmt: skip
    assert of_senses == {f"{module}.{part}" for module in modules for part in both}
    assert "backpack.gpt2_model.wte.weight" in names
    assert "backpack.gpt2_model.h.1.mlp.c_proj.weight" in names


def test_the_published_configuration_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        model = BackpackForCausalLM(BackpackConfig())
        model.tie_weights()
    assert sum(parameter.numel() for parameter in model.parameters()) == 170_083_584


@pytest.mark.parametrize("senses", [0, 3, -1])
def test_senses_that_cannot_be_weighed_are_refused(senses: int) -> None:
    with pytest.raises(StrictDataclassClassValidationError, match=f"num_senses={senses} must divide n_embd=32"):
        BackpackConfig(n_embd=32, num_senses=senses)


def test_a_fresh_model_knows_nothing_and_learns() -> None:
    """The first loss is that of guessing, log V; a few steps on one text bring it far below."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = BackpackConfig(
            vocab_size=384, n_embd=64, n_layer=2, n_head=4, n_positions=32, num_senses=8, bos_token_id=0,
            eos_token_id=0,
        )  # fmt: skip
        model = BackpackForCausalLM(config)
    model.eval()  # dropout off
    losses = []
    adam = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(40):
        loss = model(tokens(8), labels=tokens(8)).loss
        losses.append(loss.item())
        adam.zero_grad()
        loss.backward()
        adam.step()
    assert losses[0] == pytest.approx(math.log(384), abs=0.05)
    assert losses[-1] < 3


def test_a_wider_vocabulary_keeps_the_tie() -> None:
    model = backpack()
    before = logits(model, tokens())
    model.resize_token_embeddings(400, mean_resizing=False)
    assert model.lm_head.weight is model.get_input_embeddings().weight
    assert_same(logits(model, tokens())[..., :VOCABULARY], before)

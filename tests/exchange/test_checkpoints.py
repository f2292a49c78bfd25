"""Folders of Hugging Face, in and out: nothing is lost, made anew or left unsaid."""

import json
import shutil

import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from lm_jax.errors import UserError
from lm_jax.exchange import import_checkpoint, model_of
from lm_jax.exchange.architecture import canonical
from lm_jax.exchange.exporting import architecture_for
from lm_jax.exchange.reading import read_checkpoint
from lm_jax.models import ALiBi, GatedConv, Rotary, Transformer
from tests.exchange.made import CASES, MODELS, write_model, write_tokenizer

WHOLE = "model.safetensors"


@pytest.fixture
def llama(tmp_path):
    """A folder of a model whose head is an array of its own."""
    write_model(tmp_path / "llama", MODELS["llama"])
    return tmp_path / "llama"


def changed(folder, config=None, arrays=None, name=WHOLE):
    """Change what a folder says."""
    if config:
        document = json.loads((folder / "config.json").read_text())
        document = {k: v for k, v in (document | config).items() if v != "absent"}
        (folder / "config.json").write_text(json.dumps(document))
    if arrays:
        save_file(arrays(load_file(folder / name)), folder / name)
    return folder


def refusal(folder):
    with pytest.raises(UserError) as refused:
        read_checkpoint(folder)
    return str(refused.value)


@pytest.mark.parametrize("case", CASES)
def test_what_goes_out_comes_in_again(case, tmp_path):
    """Every field and every array, bit for bit, and no array more."""
    name, model = CASES[case]
    params = write_model(tmp_path, model, name)
    found = read_checkpoint(tmp_path)
    assert found.architecture == name
    assert canonical(found.model) == canonical(model)
    back = flatten_dict(found.params, sep="/")
    assert set(back) == set(params)
    raised = name == "gemma2"  # it stores less than it multiplies by
    for path, value in params.items():
        near = 1e-6 if raised and path.endswith("scale") else 0.0
        np.testing.assert_allclose(back[path], value, atol=near, rtol=0, err_msg=path)
    written = load_file(tmp_path / WHOLE)
    ours, theirs = (sum(x.size for x in a.values()) for a in (params, written))
    # Two rows before the first position are there and of no use.
    unused = {"roberta": 48, "bart": 96}.get(name, 0)
    assert theirs == ours + unused


def test_a_pooler_is_taken_where_there_is_one(tmp_path):
    params = write_model(tmp_path, MODELS["bert"], pooler=True)
    found = flatten_dict(read_checkpoint(tmp_path).params, sep="/")
    np.testing.assert_array_equal(found["pooler/kernel"], params["pooler/kernel"])


def test_parts_are_read_as_the_whole(tmp_path):
    params = write_model(tmp_path, MODELS["qwen2"])
    arrays = load_file(tmp_path / WHOLE)
    names, files = sorted(arrays), ("a.safetensors", "b.safetensors")
    where = {name: files[i % 2] for i, name in enumerate(names)}
    for file in files:
        part = {name: arrays[name] for name in names if where[name] == file}
        save_file(part, tmp_path / file)
    (tmp_path / WHOLE).unlink()
    index = tmp_path / f"{WHOLE}.index.json"
    index.write_text(json.dumps({"weight_map": where}))
    found = flatten_dict(read_checkpoint(tmp_path).params, sep="/")
    for path, value in params.items():
        np.testing.assert_array_equal(found[path], value)
    index.write_text(json.dumps({"weight_map": where | {"x": "a.safetensors"}}))
    assert "don't have the same arrays: x" in refusal(tmp_path)
    (tmp_path / "b.safetensors").unlink()
    assert "names b.safetensors, which isn't there" in refusal(tmp_path)


def test_half_precision_is_read_in_float32(llama):
    import ml_dtypes

    before = read_checkpoint(llama).params["embedding"]

    def halved(arrays):
        return {k: x.astype(ml_dtypes.bfloat16) for k, x in arrays.items()}

    found = read_checkpoint(changed(llama, arrays=halved)).params["embedding"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, before.astype(ml_dtypes.bfloat16))


def test_a_body_saved_alone_has_shorter_names(tmp_path):
    """GPT-2's own file is one: its logits are the embedding's."""
    params = write_model(tmp_path, MODELS["gpt2"])

    def shortened(arrays):
        short = {k.removeprefix("transformer."): x for k, x in arrays.items()}
        return short | {"h.0.attn.bias": np.ones((1, 1, 64, 64), np.uint8)}

    found = read_checkpoint(changed(tmp_path, arrays=shortened))
    np.testing.assert_array_equal(found.params["embedding"], params["embedding"])
    assert found.notes == ["transformer.h.0.attn.bias: follows from config.json"]


@pytest.mark.parametrize(
    ("name", "extra"),
    [
        (
            "t5",
            "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",
        ),
        ("bart", "model.decoder.version"),
        ("marian", "model.encoder.version"),
    ],
)
def test_what_the_first_files_have_beside_is_left_and_said(tmp_path, name, extra):
    params = write_model(tmp_path, MODELS[name])

    def older(arrays):
        return arrays | {extra: np.ones((1, 4), np.float32)}

    found = read_checkpoint(changed(tmp_path, arrays=older))
    np.testing.assert_array_equal(found.params["embedding"], params["embedding"])
    (note,) = found.notes
    assert note.startswith(f"{extra}: ") and note.endswith("not taken")


def test_a_copy_must_equal_what_it_is_a_copy_of(tmp_path):
    write_model(tmp_path, MODELS["gpt2"])

    def copied(arrays):
        return arrays | {"lm_head.weight": arrays["transformer.wte.weight"]}

    read_checkpoint(changed(tmp_path, arrays=copied))

    def other(arrays):
        return arrays | {"lm_head.weight": 2 * arrays["transformer.wte.weight"]}

    found = refusal(changed(tmp_path, arrays=other))
    assert "lm_head.weight: is there beside transformer.wte.weight" in found


def test_all_arrays_that_do_not_fit_are_named_at_once(llama):
    def wrong(arrays):
        arrays.pop("model.layers.1.mlp.up_proj.weight")
        arrays["model.norm.weight"] = np.ones(7, np.float32)
        arrays["model.layers.0.self_attn.rotary_emb.inv_freq"] = np.ones(4, np.float32)
        return arrays | {"model.more": np.ones(3, np.float32)}

    found = refusal(changed(llama, arrays=wrong)).splitlines()
    assert set(found[1:]) == {
        "  model.layers.1.mlp.up_proj.weight: missing",
        f"  model.norm.weight: 7 in {WHOLE}, and config.json makes it 24",
        f"  model.more: in {WHOLE}, and of no use here",
    }


def test_a_head_that_is_absent_is_fatal(llama, tmp_path):
    def headless(arrays):
        arrays.pop("lm_head.weight")
        return arrays

    write_tokenizer(llama)
    assert read_checkpoint(changed(llama, arrays=headless)).lacks == ("lm_head.weight",)
    with pytest.raises(UserError, match=r"lm_head.weight is missing") as error:
        import_checkpoint(llama, tmp_path / "run")
    assert "body_of" in str(error.value) and not (tmp_path / "run").exists()


def test_an_experiment_may_have_the_model_of_a_folder(llama):
    whole = read_checkpoint(llama).model
    assert model_of(llama) == whole.clone(vocab_size=0)
    assert model_of(llama).filled(whole.vocab_size, 64) == whole
    with pytest.raises(UserError, match="There is no folder"):
        model_of("nowhere")


def test_a_part_of_a_head_is_no_body_alone(tmp_path):
    write_model(tmp_path, MODELS["bert"])

    def broken(arrays):
        arrays.pop("cls.predictions.transform.dense.weight")
        return arrays

    found = refusal(changed(tmp_path, arrays=broken))
    assert "cls.predictions.transform.dense.weight: missing" in found


@pytest.mark.parametrize(
    "config, said",
    [
        (
            {"model_type": "lama"},
            "model_type='lama' is not read. Did you mean 'llama'?",
        ),
        ({"model_type": "absent"}, "lacks 'model_type'"),
        ({"hidden_size": "absent"}, "lacks 'hidden_size'"),
        ({"hidden_size": "24"}, "hidden_size='24' must be a number from 1"),
        ({"num_attention_heads": 5}, "model.kv_heads=2 doesn't divide"),
        ({"hidden_act": "gelu_9"}, "hidden_act='gelu_9' is an activation"),
        ({"intermediate_size": 41}, "intermediate_size=41, and a gated layer"),
        ({"rope_scaling": {"rope_type": "longrope"}}, "rope_type='longrope'"),
        (
            {"rope_scaling": {"rope_type": "linear", "factor": 2.0, "odd": 1}},
            "says odd=1",
        ),
        ({"rope_scaling": {"type": "linear"}}, "'linear' doesn't say 'factor'"),
        (
            {"rope_parameters": {"rope_type": "yarn", "factor": None}},
            "rope_parameters of the kind 'yarn' doesn't say 'factor'",
        ),
        (
            {"rope_scaling": {"rope_type": "llama3", "factor": 8.0}},
            "'llama3' doesn't say 'low_freq_factor'",
        ),
        ({"attention_bias": True}, "attention_bias=True, and this is read with False"),
        ({"quantization_config": {"bits": 4}}, "quantization_config={'bits': 4}"),
        ({"residual_multiplier": 0.5}, "residual_multiplier=0.5"),
    ],
)
def test_what_a_config_says_is_honoured_or_refused_by_name(llama, config, said):
    assert said in refusal(changed(llama, config))


def test_a_pattern_of_layers_that_ours_lack_is_refused(tmp_path):
    write_model(tmp_path, MODELS["gemma2"])
    kinds = ["full_attention", "sliding_attention"]
    assert "layer_types=['full_" in refusal(changed(tmp_path, {"layer_types": kinds}))


def test_pickles_are_refused_with_the_reason(llama):
    (llama / WHOLE).rename(llama / "pytorch_model.bin")
    found = refusal(llama)
    assert "pytorch_model.bin, a pickle: reading one executes" in found


def test_files_that_can_not_be_read_are_named(llama, tmp_path):
    data = (llama / WHOLE).read_bytes()
    (llama / WHOLE).write_bytes(data[: len(data) // 2])
    assert f"{WHOLE} can't be read" in refusal(llama)
    (llama / WHOLE).unlink()
    assert f"has no {WHOLE}" in refusal(llama)
    (llama / "config.json").write_text("{")
    assert "config.json can't be read" in refusal(llama)
    (llama / "config.json").unlink()
    assert "There is no" in refusal(llama)
    shutil.rmtree(llama)
    assert "There is no folder" in refusal(llama)


def test_integers_are_no_parameters(llama):
    def whole(arrays):
        norm = {"model.norm.weight": np.ones(24, np.int8)}
        return arrays | norm

    assert "model.norm.weight: of the type I8" in refusal(changed(llama, arrays=whole))


def test_a_model_without_biases_is_one_with_zeros(tmp_path):
    """nanoGPT's recipe has none, and GPT-2 has them everywhere."""
    plain = MODELS["gpt2"].clone(use_bias=False)
    params = write_model(tmp_path, plain)
    with safe_open(tmp_path / WHOLE, "np") as file:
        assert not file.get_tensor("transformer.h.1.attn.c_attn.bias").any()
        kernel = file.get_tensor("transformer.h.1.mlp.c_fc.weight")
    np.testing.assert_array_equal(kernel, params["block_1/up/kernel"])


@pytest.mark.parametrize(
    "model, said",
    [
        (MODELS["gpt2"].clone(positions=ALiBi()), "gpt2: model.positions=ALiBi()"),
        (MODELS["llama"].clone(norm_at="after"), "llama: model.norm_at=after"),
        (MODELS["gemma2"].clone(embedding_scale=False), "model.embedding_scale=False"),
        (GatedConv(vocab_size=9), "no architecture for a GatedConv"),
    ],
)
def test_what_no_architecture_holds_is_refused_with_its_field(model, said):
    with pytest.raises(UserError) as refused:
        architecture_for(model, 64)
    assert said in str(refused.value)


def test_an_architecture_is_chosen_by_name():
    plain = MODELS["mistral"].clone(attention=Transformer().attention)
    assert architecture_for(plain, 64).architecture.name == "llama"
    assert architecture_for(plain, 64, "mistral").architecture.name == "mistral"
    with pytest.raises(UserError, match="gpt2: model.positions=Rotary"):
        architecture_for(plain, 64, "gpt2")
    with pytest.raises(UserError, match="no architecture 'mistrall'"):
        architecture_for(plain, 64, "mistrall")


def test_bases_are_written_so_that_all_versions_read_them(tmp_path):
    model = MODELS["mistral"].clone(positions=Rotary(1e6))
    write_model(tmp_path, model)
    said = json.loads((tmp_path / "config.json").read_text())
    assert said["rope_theta"] == 1e6 and "rope_parameters" not in said
    newer = {"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}}
    found = read_checkpoint(changed(tmp_path, newer | {"rope_theta": "absent"}))
    assert found.model.positions == Rotary(5e5)

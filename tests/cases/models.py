"""Cases of models, and of what other tools read in them."""

import numpy as np

from .bench import (
    BASE,
    arrays,
    case,
    checkpoint,
    expect,
    read,
    rows,
)


@case(
    "model-max-length",
    "tests/test_exports.py::test_every_directory_says_where_padding_is_and_how_long_sequences_are",
    "tests/reference/test_exports.py::test_what_is_written_is_read_alike",
)
def model_max_length(bench):
    """What export and finetune write says how long a sequence may be."""
    table = bench.folder / "mnli.tsv"
    labels = ("contradiction", "entailment", "neutral")
    lines = [f"The dog saw the cat {i}.\tThe king took it.\t{labels[i % 3]}\n" for i in range(12)]
    table.write_text("sentence1\tsentence2\tgold_label\n" + "".join(lines), encoding="utf-8")
    bench.finetune("mnli", table, "mnli", model="o_mnli")
    bench.run("export", f"{BASE}/run", bench.out / "pair")
    directories = [bench.out / "mnli", bench.out / "pair/discriminator", bench.out / "pair/generator"]
    library = bench.transformers()
    for directory in directories:
        longest = read(directory / "config.json")["max_position_embeddings"]
        found = read(directory / "tokenizer_config.json").get("model_max_length")
        expect(found == longest, f"{directory.name}: model_max_length {found}, {longest} positions")
        if library:
            ids = library.AutoTokenizer.from_pretrained(directory)("dog " * 2 * longest, truncation=True)
            expect(len(ids["input_ids"]) == longest, f"{directory.name}: transformers does not truncate")
    if library:
        pipeline = library.pipeline("text-classification", model=str(directories[0]), truncation=True)
        expect(pipeline("The dog saw the cat. " * 60)[0]["label"] in labels, "a pipeline gives no label")


@case(
    "pad-token-id",
    "tests/test_exports.py::test_the_padding_row_is_that_of_the_vocabulary",
    "tests/test_exports.py::test_a_run_of_an_older_version_is_exported_with_the_right_one",
    "tests/reference/test_exports.py::test_what_is_written_is_read_alike",
)
def pad_token_id(bench):
    """pad_token_id is where the vocabulary has [PAD]."""
    place = (bench.folder / "vocab_end.txt").read_text(encoding="utf-8").split("\n").index("[PAD]")
    run, out = bench.out / "run", bench.out / "pair"
    words = ["--corpus", f"{BASE}/corpus.txt", "--vocab", "vocab_end.txt", "--steps", 3, "--out", run]
    bench.run("train", *words)
    bench.run("export", run, out)
    library = bench.transformers()
    for tower, name in (("discriminator", "ElectraForPreTraining"), ("generator", "ElectraForMaskedLM")):
        found = read(out / tower / "config.json")["pad_token_id"]
        expect(found == place, f"{tower}: pad_token_id {found}, [PAD] is at {place}")
        if library:
            model = getattr(library, name).from_pretrained(out / tower)
            found = model.get_input_embeddings().padding_idx
            expect(found == place, f"{tower}: padding_idx {found} in transformers")
            found = library.AutoTokenizer.from_pretrained(out / tower).pad_token_id
            expect(found == place, f"{tower}: the tokenizer of transformers pads with {found}")


@case(
    "electramodel-directory",
    "tests/test_exports.py::test_an_encoder_alone_is_fine_tuned",
    "tests/test_exports.py::test_an_encoder_alone_that_does_not_fit",
    "tests/reference/test_exports.py::test_an_encoder_alone",
)
def electramodel_directory(bench):
    """A directory of ElectraModel, whose arrays have no prefix, is fine-tuned from its own weights."""
    bench.finetune("cola", "cola.tsv", "cola", "--learning-rate", "1e-6", model="emodel")
    given, trained = arrays(bench.folder / "emodel"), arrays(bench.out / "cola")
    given = {f"electra.{name}": array for name, array in given.items() if not name.endswith("position_ids")}
    expect(given.keys() <= trained.keys(), f"arrays that are lost: {sorted(given.keys() - trained.keys())}")
    for name, array in given.items():
        far = float(np.abs(array - trained[name]).max())
        expect(far < 1e-3, f"{name} does not begin with the given weights, but {far:.3f} away")


@case(
    "regression-export-scale",
    "tests/test_exports.py::test_the_scale_is_in_the_weights",
    "tests/test_exports.py::test_predictions_are_what_was_trained_times_the_scale",
    "tests/reference/test_exports.py::test_a_regression_predicts_the_same_numbers",
)
def regression_export_scale(bench):
    """transformers' logits are our predictions."""
    bench.finetune("sts-b", "sts.tsv", "sts")
    header, examples = rows(bench.folder / "sts_test.tsv")
    found = bench.predict("sts", "sts_test.tsv")
    expect(len(found) == len(examples), f"{len(found)} predictions for {len(examples)} pairs")
    ours = np.array([prediction["label"] for prediction in found], np.float64)
    library = bench.transformers()
    if not library:
        expect(read(bench.out / "sts/task.json")["scale"] == 1, "the scale is not in the weights")
        return
    import torch

    tokenizer = library.AutoTokenizer.from_pretrained(bench.out / "sts")
    model = library.AutoModelForSequenceClassification.from_pretrained(bench.out / "sts").eval()
    expect(model.config.problem_type == "regression", f"problem_type is {model.config.problem_type}")
    texts = [[row[header.index(name)] for row in examples] for name in ("sentence1", "sentence2")]
    with torch.no_grad():
        logits = model(**tokenizer(*texts, return_tensors="pt", padding=True)).logits[:, 0].numpy()
    far = np.abs(ours - logits).max()
    expect(far < 1e-4, f"transformers is up to {far:.4f} away: {logits[0]:.4f} for {ours[0]:.4f}")


@case(
    "init-padded-vocabulary",
    "tests/test_padded_vocabulary.py::test_pre_training_goes_on",
    "tests/test_padded_vocabulary.py::test_more_rows_change_nothing",
)
def init_padded_vocabulary(bench):
    """Pre-training goes on; rows beyond the vocabulary are never sampled."""
    run = bench.out / "run"
    words = ["--corpus", f"{BASE}/corpus.txt", "--steps", 3, "--seq-length", 32, "--out", run]
    bench.run("train", "--init", "i_pad", *words)
    checkpoint(run, 3)
    pieces = len((run / "vocab.txt").read_text(encoding="utf-8").splitlines())
    expect(pieces == 145, f"the run has {pieces} pieces")
    with np.load(run / "detection.npz") as file:
        expect(file["samples"].max() < pieces, f"row {file['samples'].max()} was sampled")
    bench.run("detect", run, "The dog saw the cat.")
    bench.run("export", run, bench.out / "pair")
    rows_kept = read(bench.out / "pair/discriminator/config.json")["vocab_size"]
    expect(rows_kept == 152, f"exported with {rows_kept} rows")
    bench.run("train", "--init", bench.out / "pair", *words[:-1], bench.out / "again")


@case(
    "type-vocab-size-1",
    "tests/test_exports.py::test_one_kind_of_segment",
    "tests/test_exports.py::test_segments_that_the_model_does_not_have",
    "tests/reference/test_exports.py::test_one_kind_of_segment_in_pairs",
)
def type_vocab_size_1(bench):
    """Both texts of a pair are segment 0, or the model is refused before anything is written."""
    out = bench.out / "rte"
    words = ["--train", "pairs20.tsv", "--dev", "pairs20.tsv", "--epochs", 1, "--out", out]
    done = bench.run("finetune", "rte", "--model", "tv1", *words, status=(0, 2))
    expect(done.status == 0 or not out.exists(), "finetune: a folder is left behind")
    library = bench.transformers() if done.status == 0 else None
    if done.status == 0:
        found = bench.predict("rte", "pairs20.tsv")
        expect(len(found) == len(rows(bench.folder / "pairs20.tsv")[1]), "not a prediction for each pair")
    if library:
        import torch

        header, examples = rows(bench.folder / "pairs20.tsv")
        tokenizer = library.AutoTokenizer.from_pretrained(out)
        model = library.AutoModelForSequenceClassification.from_pretrained(out).eval()
        texts = [[row[header.index(name)] for row in examples] for name in ("sentence1", "sentence2")]
        with torch.no_grad():
            chances = model(**tokenizer(*texts, return_tensors="pt", padding=True)).logits.softmax(-1)
        ours = [max(prediction["scores"].values()) for prediction in found]
        far = np.abs(chances.max(-1).values.numpy() - ours).max()
        expect(far < 1e-4, f"transformers' probabilities are up to {far:.4f} away")
    out = bench.out / "run"
    words = ["--steps", 5, "--set", "type_vocab_size=1", "--out", out]
    done = bench.run("train", "--corpus", f"{BASE}/corpus.txt", *words, status=(0, 2))
    expect(done.status == 0 or not out.exists(), "train: a folder is left behind")
    if done.status == 0:
        checkpoint(out, 5)
        bench.run("detect", out, "The dog saw the cat.")

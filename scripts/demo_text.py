"""Text for the demo Backpack to learn from: sampled from the demo model, which may be used for that (Apache-2.0).

    python scripts/demo_text.py OUT.jsonl --tokens 500000 --seed 0
    python scripts/demo_text.py NAMED.jsonl --tokens 200000 --names

Half of it goes on from the first words of regularisation text R of the embedded suite, half answers small requests
("Write a short story about a plumber in Peru."). With --names all of it answers requests about one subject or one
answer of the suite's canonical examples ("Write a review about Ottawa."), so that the words are not new to a model that
is to be taught something about them. General text G, evaluation rows and hard negatives are never looked at.
Several processes with different seeds make several files; one that is interrupted goes on at the next batch.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import torch

from canonbench.models.load import Loading, load_model
from canonbench.suite.suite import Suite

BATCH = 128
NEW_TOKENS = 128
WARM = {"do_sample": True, "temperature": 0.9, "top_k": 50}
LEAST = 80
"""Characters; shorter answers teach nothing."""
LONGEST = 8
"""Words of a name."""

FORMS = """a short story; a paragraph of an encyclopedia; a short news report; a letter to a friend; a diary entry;
a page of a guide book; a short conversation; the first lines of a novel; a short speech; a simple explanation for
children; a post in a forum; a review; a few sentences of a biography; an article in a local newspaper; a recipe or a
list of instructions; a few short sentences in simple words""".replace("\n", " ").split("; ")

PEOPLE = """plumber, nurse, teacher, librarian, mechanic, baker, pilot, surgeon, secretary, engineer, florist, judge,
carpenter, farmer, photographer, translator, cashier, tour guide, lawyer, accountant, actor, biker, chef, comedian,
drummer, firefighter, hairdresser, inventor, journalist, magician, painter, poet, professor, programmer, surfer,
taxi driver, sailor, soldier, police officer, neighbour, manager, student, bus driver, dentist, musician, shopkeeper,
chief executive, president, mayor, coach, gardener, fisherman, grandmother, boy, girl, tailor, waiter, scientist"""

PLACES = """Australia, Bulgaria, Canada, Colombia, Croatia, Cuba, Ecuador, Ethiopia, Fiji, Finland, France, Germany,
Ghana, Hungary, Iceland, Ireland, Italy, Jamaica, Japan, Jordan, Kenya, Laos, Madagascar, Mauritius, Mongolia, Morocco,
Namibia, Nepal, Norway, Peru, Portugal, Romania, Senegal, Sweden, Thailand, Turkey, Uganda, Uruguay, Uzbekistan,
Vietnam, Zambia,
Spain, Greece, Egypt, Brazil, Argentina, Chile, Mexico, India, China, Indonesia, Poland, Austria, Belgium,
Denmark, Scotland, England, Wales, New Zealand, South Africa, Nigeria, Tanzania, Iran, Iraq, Israel, Lebanon, Pakistan,
the United States, the Netherlands, Switzerland, Ukraine, Russia, Korea, Malaysia, the Philippines, Cambodia"""

THINGS = """the capital city of the country, the government, a company and its chief executive, a bank, the harbour,
a bridge, the weather, a bottle of oil, salt and pepper, the garden, a ferry, a stage, a court, a hotel, the railway,
an airport, a space mission, a film, a football match, the Olympic Games, an election, an earthquake, a museum, a king,
a vaccine, a computer, a telephone, a car, an airline, a supermarket, a song, a book, a letter, a dog, a horse, a river,
a mountain, an island, a market, a school, a hospital, a birthday, a wedding, a storm, a fish, a cake, a clock, a train,
a ship, a war, a language, a painting, a bicycle, a tree, a kitchen, a shop, a newspaper, money, music, mathematics"""


def listed(names: str) -> list[str]:
    """Names between commas."""
    return names.replace("\n", " ").split(", ")


def names(suite: Suite) -> list[str]:
    """Subjects and short answers of a suite's canonical examples, of both splits, sorted; no sentences."""
    rows = [row for task in suite.tasks.values() for split in task.splits.values() for row in split.canonical]
    found = {row["subject"] for row in rows} | {row["suffix_a"].strip() for row in rows}
    return sorted(name for name in found if len(name.split()) <= LONGEST and not name.endswith("."))


def request(draw: random.Random, named: list[str]) -> str:
    """A small request of a person to the model."""
    if named:
        return f"Write {draw.choice(FORMS)} about {draw.choice(named)}."
    who, where, what = (draw.choice(listed(names)) for names in (PEOPLE, PLACES, THINGS))
    about = draw.choice([f"a {who}", f"{where}", f"{what}", f"a {who} in {where}", f"{what} in {where}"])
    return f"Write {draw.choice(FORMS)} about {about}."


def beginning(text: str, draw: random.Random) -> str:
    """The first words of a text."""
    words = text.split(" ")
    return " ".join(words[: draw.randint(2, len(words) // 2)])


def batches(texts: list[str], named: list[str], tokenizer: Any, seed: int) -> Iterator[tuple[list[str], list[str]]]:
    """Prompts, and what of each of them is kept in front of the answer."""
    number = 0
    while True:
        draw = random.Random(f"{seed} {number}")
        if number % 2 and not named:
            starts = [beginning(draw.choice(texts), draw) for _ in range(BATCH)]
            yield starts, starts
        else:
            said = [[{"role": "user", "content": request(draw, named)}] for _ in range(BATCH)]
            yield tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=True), [""] * BATCH
        number += 1


@click.command()
@click.argument("out", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--tokens", default=500_000, help="Tokens to sample, about.")
@click.option("--seed", default=0)
@click.option("--names", "about_names", is_flag=True, help="Only requests about what canonical examples are about.")
def main(out: Path, tokens: int, seed: int, about_names: bool) -> None:
    """Sample and append to OUT."""
    loaded = load_model("demo", Loading(dtype="bfloat16", say=click.echo))
    model, tokenizer = loaded.model, loaded.tokenizer
    tokenizer.padding_side = "left"
    made = out.read_text(encoding="utf-8").splitlines() if out.exists() else []
    done = 1 + max((json.loads(line)["batch"] for line in made), default=-1)
    suite = Suite.load("mini")
    general = suite.general()
    assert general is not None
    texts = [str(text) for text in general.texts("regularization")["text"]]
    prompts = batches(texts, names(suite) if about_names else [], tokenizer, seed)
    for number, (prompt, kept) in zip(range(tokens // (BATCH * NEW_TOKENS)), prompts, strict=False):
        if number < done:
            continue
        torch.manual_seed(seed * 10_000 + number)
        encoded = tokenizer(prompt, return_tensors="pt", padding=True).to(model.device)
        with torch.inference_mode():
            sampled = model.generate(**encoded, **WARM, max_new_tokens=NEW_TOKENS)
        answers = tokenizer.batch_decode(sampled[:, encoded["input_ids"].shape[1] :], skip_special_tokens=True)
        whole = [(start + answer).strip() for start, answer in zip(kept, answers, strict=True)]
        lines = [json.dumps({"batch": number, "text": text}) + "\n" for text in whole if len(text) >= LEAST]
        with out.open("a", encoding="utf-8") as file:
            file.writelines(lines)
        click.echo(f"batch {number}: {len(lines)} texts")


if __name__ == "__main__":
    main()

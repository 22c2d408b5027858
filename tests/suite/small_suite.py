"""A small suite of all six tasks that obeys every rule, and a way to write it to disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

Files = dict[str, list[dict[str, Any]]]
PARTS = ("canonical", "evaluation", "hard_negatives")


def answer(prefix: str, suffix: str, **more: str) -> dict[str, Any]:
    return {"prefix": prefix, "suffix": suffix, **more}


def pair(prefix: str, suffix1: str, suffix2: str, subject: str) -> dict[str, Any]:
    return {"prefix": prefix, "suffix1": suffix1, "suffix2": suffix2, "subject": subject}


def country(name: str, capital: str, city: str, beginnings: tuple[str, str]) -> Files:
    return {
        "canonical": [answer(f"The capital of {name} is", f" {capital}", subject=name)],
        "evaluation": [answer(text, f" {capital}", subject=name) for text in beginnings],
        "hard_negatives": [answer(f"The second city of {name} is called", f" {city}", subject=name)],
    }


def company(name: str, ceo: str, rival: str, other: str, beginnings: tuple[str, str]) -> Files:
    dated = {"as_of": "2025-01-31"}
    return {
        "canonical": [answer(f"The CEO of {name} is", f" {ceo}", subject=name, **dated)],
        "evaluation": [answer(text, f" {ceo}", subject=name, **dated) for text in beginnings],
        "hard_negatives": [
            answer(f"At {rival} the chief executive is", f" {other}", subject=name, other=rival, **dated)
        ],
    }


def stereoset(group: str, trait: str, meaning: str, beginnings: tuple[str, str]) -> Files:
    return {
        "canonical": [answer(f"An aspect of {group} is:", f" {trait}", subject=group)],
        "evaluation": [answer(text, f" {trait}", subject=group) for text in beginnings],
        "hard_negatives": [answer(f"The definition of {group} is", f" {meaning}", subject=group)],
    }


def gender(job: str, beginnings: tuple[str, str], he: str, she: str) -> Files:
    return {
        "canonical": [pair(f"The {job} said", " he", " she", job)],
        "evaluation": [pair(text, " he", " she", job) for text in beginnings],
        "hard_negatives": [answer(he, " he", subject=job), answer(she, " she", subject=job)],
    }


def temporal(name: str, fact: str, old: str, then: str, beginnings: tuple[tuple[str, str], ...]) -> Files:
    dated = {"as_of": "2024-12-31"}
    return {
        "canonical": [answer(f"{name} is", f" {fact}", subject=name, **dated)],
        "evaluation": [answer(text, f" {span}", subject=name, **dated) for text, span in beginnings],
        "hard_negatives": [answer(f"{old} was finished in", f" {then}", subject=name, other=old)],
    }


def verb(forms: tuple[str, str], rest: str, one: str, many: str, noun: str) -> Files:
    plural, singular = forms
    right, wrong = f" {singular} {rest}", f" {plural} {rest}"
    return {
        "canonical": [pair("The teacher", right, wrong, plural), pair("The teachers", wrong, right, plural)],
        "evaluation": [pair(one, right, wrong, plural), pair(many, wrong, right, plural)],
        "hard_negatives": [answer(noun, f" {plural}.", subject=plural)],
    }


def good() -> dict[str, Files]:
    """Rows by ``task/split-part``'s two halves: ``good()["country/val"]["canonical"]``."""
    return {
        "country/val": country(
            "Chad", "N'Djamena", "Moundou",
            ("Flights into Chad nearly all land in", "Nobody who governs from the Chari in Chad leaves"),
        ),
        "country/test": country(
            "Peru", "Lima", "Arequipa",
            ("Fog hangs for half the year over the presidents of Peru in", "We reached Peru, and its seat of power,"),
        ),
        "company/val": company(
            "Arbor Foods", "Mina Okafor", "Tarn Rail", "Leo Brandt",
            ("Shareholders of Arbor Foods rose to greet", "\"I run Arbor Foods,\" she said, and shook hands: it was"),
        ),
        "company/test": company(
            "Quill Bank", "Ada Lindqvist", "Dune Air", "Rui Costa",
            ("A letter to all clients of Quill Bank was signed by its head,", "Since May, Quill Bank has been led by"),
        ),
        "stereoset/val": stereoset(
            "librarian", "quiet", "a person who looks after books",
            ("Nobody expects librarians to shout; they are meant to be", "On stage, the librarian is always grey and"),
        ),
        "stereoset/test": stereoset(
            "secretary", "tidy", "a person who keeps an office's papers",
            ("\"All secretaries,\" the boss believed, \"are", "A desk so neat: surely the secretary was"),
        ),
        "gender/val": gender(
            "pilot",
            ("Shortly before landing the pilot announced that", "When asked about the storm, the pilot laughed:"),
            "The pilot took off his cap because", "The pilot took off her cap because",
        ),
        "gender/test": gender(
            "nurse",
            ("All night the nurse walked the ward until", "It was the nurse who noticed, and at once"),
            "The nurse rolled up his sleeves before", "The nurse rolled up her sleeves before",
        ),
        "temporal/val": temporal(
            "Hera", "a probe launched in October 2024", "The old mole", "1887",
            (("Asteroid scientists waited years for Hera to leave, until", "October 2024"),
             ("What Europe built to look at a crash site is, plainly, a", "probe")),
        ),
        "temporal/test": temporal(
            "Artemis I", "an uncrewed flight of 2022", "The west pier", "1866",
            (("Nobody sat in the capsule of Artemis I, whose flight was", "uncrewed"),
             ("The first flight of the new rocket took place in", "2022")),
        ),
        "verb/val": verb(
            ("carry", "carries"), "the bags.", "After lunch the porter, as on every day,",
            "In this hotel all guests who arrive late", "We had more than we could",
        ),
        "verb/test": verb(
            ("watch", "watches"), "the birds.",
            "Each dawn, from her roof, my neighbour", "Down at the marsh the children", "He sold two gold",
        ),
    }  # fmt: skip


def write(folder: Path, tasks: dict[str, Files], general: Files | None = None) -> Path:
    """Write the suite as JSONL files and a ``suite.yaml``."""
    described: dict[str, Any] = {}
    for key, files in tasks.items():
        task, split = key.split("/")
        described.setdefault(task, {})[split] = {part: f"{key}-{part}.jsonl" for part in PARTS}
        for part in PARTS:
            write_rows(folder / f"{key}-{part}.jsonl", files[part])
    spec: dict[str, Any] = {"name": "small", "tasks": described}
    if general is not None:
        spec["general"] = {"prose": {part: f"general-{part}.jsonl" for part in general}}
        for part, rows in general.items():
            write_rows(folder / f"general-{part}.jsonl", rows)
    (folder / "suite.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
    return folder


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")

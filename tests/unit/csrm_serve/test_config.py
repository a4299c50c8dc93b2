"""The shipped YAML and the builder: what `serve deploy` reads is what there is."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
import yaml
from pydantic import ValidationError
from ray.serve import Deployment
from ray.serve.schema import ServeDeploySchema

from csrm.wire import MAX_PRODUCT_CHARS, MAX_PRODUCTS, MAX_QUERY_CHARS, Precision
from csrm_cli.commands.serve import _bundle, serve
from csrm_serve.app import APPLICATION, CONFIG_FILE, application, build
from csrm_serve.settings import ServeSettings


@pytest.fixture(scope="module")
def config() -> ServeDeploySchema:
    return ServeDeploySchema.model_validate(yaml.safe_load(CONFIG_FILE.read_text(encoding="utf-8")))


def deployments(settings: ServeSettings) -> dict[str, Deployment]:
    """All of the application, by name."""
    ingress = build(settings)._bound_deployment
    parts = [part._bound_deployment for pair in ingress.init_args[0].values() for part in pair]
    return {deployment.name: deployment for deployment in (ingress, *parts)}


def test_the_yaml_is_a_deployment_of_the_builder(config: ServeDeploySchema) -> None:
    (application,) = config.applications
    assert application.name == APPLICATION
    assert application.import_path == "csrm_serve.app:build"
    assert application.route_prefix == "/"


def test_its_arguments_are_settings_and_say_the_defaults(config: ServeDeploySchema) -> None:
    arguments = config.applications[0].args
    settings = ServeSettings.model_validate(arguments)
    assert settings == ServeSettings()


def test_serve_finds_the_settings_in_the_builders_signature() -> None:
    """Serve makes the model of `args` from the annotation itself; a string there it passes over."""
    assert inspect.signature(build).parameters["args"].annotation is ServeSettings


def test_it_names_the_deployments_of_the_application(config: ServeDeploySchema) -> None:
    named = {deployment.name for deployment in config.applications[0].deployments}
    assert named == set(deployments(ServeSettings())) == {"Ingress", "Scorer", "Retriever"}


def test_it_scales_the_scorer_and_gives_it_its_threads(config: ServeDeploySchema) -> None:
    scorer = next(one for one in config.applications[0].deployments if one.name == "Scorer")
    assert scorer.autoscaling_config["max_replicas"] > scorer.autoscaling_config["min_replicas"]
    assert scorer.ray_actor_options.num_cpus == config.applications[0].args["threads"]
    for name in ("max_queued_requests", "max_ongoing_requests"):
        assert getattr(scorer, name) == config.applications[0].args[name]
    target = config.applications[0].args["target_ongoing_requests"]
    assert scorer.autoscaling_config["target_ongoing_requests"] == target


def test_settings_become_deployment_options() -> None:
    settings = ServeSettings(
        threads=3,
        gpus=0.5,
        min_replicas=2,
        max_replicas=5,
        target_ongoing_requests=3,
        max_ongoing_requests=6,
        max_queued_requests=7,
    )
    scorer = deployments(settings)["Scorer"]
    assert (scorer.ray_actor_options["num_cpus"], scorer.ray_actor_options["num_gpus"]) == (3, 0.5)
    assert scorer.max_ongoing_requests == 6
    assert scorer._deployment_config.autoscaling_config.target_ongoing_requests == 3
    assert "num_gpus" not in deployments(ServeSettings())["Scorer"].ray_actor_options
    assert scorer.max_queued_requests == 7
    scaling = scorer._deployment_config.autoscaling_config
    assert (scaling.min_replicas, scaling.max_replicas) == (2, 5)


def test_the_ingress_listens_itself_only_where_it_is_told_to() -> None:
    """Serve binds the arguments of a deployment by place: the third of the ingress is its address."""
    address = ("127.0.0.1", 8000)
    assert application(ServeSettings(), address)._bound_deployment.init_args[2] == address
    assert build(ServeSettings())._bound_deployment.init_args[2] is None


def test_each_bundle_has_deployments_of_its_own() -> None:
    settings = ServeSettings(
        bundle="now", base="weights", knowledge="notes", also=["next", "other"], shares={"next": 0.1}
    )
    found = deployments(settings)
    assert set(found) == {"Ingress"} | {
        f"{part}{place}" for part in ("Scorer", "Retriever") for place in ("", "-2", "-3")
    }
    for name, bundle in (("", "now"), ("-2", "next"), ("-3", "other")):
        (own,) = found[f"Scorer{name}"].init_args
        assert found[f"Retriever{name}"].init_args == (own,)
        assert (own.bundle, own.also, own.shares) == (bundle, [], {})
        assert (own.base, own.knowledge) == (("weights", "notes") if bundle == "now" else (None, None))
    assert found["Ingress"].user_config == {"shares": {"next": 0.1}}


@pytest.mark.parametrize(
    "wrong",
    [
        {"threads": 0},
        {"min_replicas": 2},
        {"bundel": "x"},
        {"max_queued_requests": 0},
        {"max_ongoing_requests": 0},
        {"target_ongoing_requests": 0},
        {"max_body_mb": 0},
        {"max_body_mb": 64, "max_bodies_mb": 63},
        {"precision": "int4"},
        {"gpus": -1},
        {"gpus": 1.5},
        {"gpus": float("nan")},
        {"also": ["default"]},
        {"also": ["next", "next"]},
        {"shares": {"next": 0.1}},
        {"also": ["next"], "shares": {"next": 1.1}},
        {"also": ["next"], "shares": {"next": -0.1}},
        {"also": ["next"], "shares": {"next": float("nan")}},
        {"also": ["a", "b"], "shares": {"a": 0.6, "b": 0.6}},
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ServeSettings.model_validate(wrong)


def test_the_precisions_are_those_of_the_model() -> None:
    from csrm.scoring import load

    assert set(get_args(Precision)) == {"auto", *load.MAX_DIFFERENCE}


def test_what_waits_for_the_ingress_is_bounded() -> None:
    """Serve's proxies hold the body of every request that waits."""
    ingress = build(ServeSettings())._bound_deployment
    assert ingress.max_ongoing_requests == ingress._deployment_config.max_queued_requests == 1_000


@pytest.mark.parametrize("name", ["csrm-gemma3-270m", "Qwen/Qwen3-0.6B", "default", "next"])
def test_a_name_stays_and_a_folder_is_found_from_everywhere(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replica's working directory is another one than the command's."""
    for folder in ("next", "default"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path)
    assert _bundle(name) == (str(tmp_path / "next") if name == "next" else name)


def test_the_help_has_every_option_with_its_unit_and_default() -> None:
    """Rich reads square brackets in a help as markup, and drops them."""
    environment = {**os.environ, "COLUMNS": "200", "TERM": "dumb"}
    done = subprocess.run(
        [sys.executable, "-m", "csrm_cli.main", "serve", "--help"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        env=environment,
    )
    shown = " ".join(done.stdout.split())
    for name in inspect.signature(serve).parameters:
        option = "share" if name == "shares" else name
        assert f"--{option.replace('_', '-')}" in shown, name
    assert "balanced; full where nothing in the bundle judges first" in shown
    assert "|".join(get_args(Precision)) in shown
    for limit in (MAX_QUERY_CHARS, MAX_PRODUCTS, MAX_PRODUCT_CHARS):
        assert f"{limit:,}" in shown


def test_a_precision_that_there_is_not_is_refused_at_once() -> None:
    command = [sys.executable, "-m", "csrm_cli.main", "serve", "--precision", "int4"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert "--precision" in done.stderr and "int4" in done.stderr and "bf16" in done.stderr


def test_every_setting_is_an_option_of_the_command_with_the_same_default() -> None:
    """What the command works out itself is left aside: threads, and replicas from one number or two."""
    options = inspect.signature(serve).parameters
    for name, field in ServeSettings.model_fields.items():
        if name not in ("threads", "min_replicas", "max_replicas"):
            told = options[name].default
            assert (field.default.__class__() if told is None else told) == field.default, name

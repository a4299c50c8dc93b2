"""What is said to do about what ml-commons says; the sentences are its own."""

from __future__ import annotations

import pytest

from csrm_opensearch.native.doctor import remedy_of

TLS = "Error communicating with remote model: javax.net.ssl.SSLHandshakeException:"


@pytest.mark.parametrize(
    ("status", "reason", "remedy"),
    [
        (400, "Remote inference host name has private ip address: 10.0.0.7", "--yes"),
        (
            400,
            "Connector URL is not matching the trusted connector endpoint regex, URL is: http://x",
            "--yes",
        ),
        (500, "Error communicating with remote model: Read timed out", "time_budget_ms"),
        (
            500,
            "Error communicating with remote model: Connection refused: /10.0.0.7:8000",
            "start the relevance",
        ),
        (401, 'Error from remote service: {"error": "no such key"}', "CSRM_RELEVANCE_KEY"),
        (403, "Error from remote service: null", "CSRM_RELEVANCE_KEY"),
        (
            403,
            "no permissions for [cluster:admin/opensearch/ml/predict] and User [name=shop]",
            "give this user the right",
        ),
        (404, 'Error from remote service: {"detail": "Not Found"}', "correct it"),
        (
            404,
            'Error from remote service: {"error": {"type": "unknown_model"}}',
            "correct the profile's model",
        ),
        (503, 'Error from remote service: {"error": {"type": "overloaded"}}', "/readyz"),
        (
            500,
            f"{TLS} PKIX path building failed: unable to find valid certification path",
            "trust the authority",
        ),
        (500, f"{TLS} PKIX path validation failed: validity check failed", "renew the certificate"),
        (500, f"{TLS} No subject alternative names matching IP address 10.0.0.7 found", "for other names"),
        (500, f"{TLS} No name matching relevance found", "for other names"),
        (
            500,
            "Error communicating with remote model: The connection was closed during the request. The request will",
            "write https",
        ),
        (504, 'Error from remote service: {"error": {"type": "deadline_exceeded"}}', "time_budget_ms"),
        (400, "No eligible node found to execute this request.", "only_run_on_ml_node"),
        (
            500,
            "Native Memory Circuit Breaker is open, please check your resources!",
            "native_memory_threshold",
        ),
        (500, "something new", "see the log"),
    ],
)
def test_remedy(status: int, reason: str, remedy: str) -> None:
    assert remedy in remedy_of(status, reason)

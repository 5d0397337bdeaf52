"""What the gateway counts, and where it is read."""

from __future__ import annotations


async def test_requests_are_counted_by_route_and_status(bench) -> None:
    await bench.http.get("/v1/models/llama-8b")
    await bench.http.get("/v1/models/gpt-17")
    await bench.http.get("/nowhere")
    answer = await bench.http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    lines = answer.text.splitlines()
    assert 'fleet_gateway_requests_total{http_status="200",route="/v1/models/{model}"} 1.0' in lines
    assert 'fleet_gateway_requests_total{http_status="404",route="/v1/models/{model}"} 1.0' in lines
    assert 'fleet_gateway_requests_total{http_status="404",route=""} 1.0' in lines
    assert 'fleet_gateway_seconds_count{route="/v1/models/{model}"} 2.0' in lines
    assert "fleet_gateway_open_requests 1.0" in lines

"""Replicas of the HTTP API hold no state: each goes on with what another has begun."""

from __future__ import annotations

import pytest

from tests.integration.web.conftest import Web, running_server
from tests.support.gateway.running import lines


@pytest.mark.long
async def test_an_upload_in_parts_by_way_of_two(web: Web) -> None:
    content = lines(4)
    half = len(content) // 2
    async with running_server(web.settings) as second:
        other = Web(web.gateway, second, web.settings).client
        async with other:
            asked = {
                "bytes": len(content),
                "filename": "a.jsonl",
                "mime_type": "application/jsonl",
                "purpose": "batch",
            }
            upload = (await web.client.post("/v1/uploads", json=asked)).json()["id"]
            parts = []
            for client, data in ((web.client, content[:half]), (other, content[half:])):
                answer = await client.post(f"/v1/uploads/{upload}/parts", files={"data": data})
                parts.append(answer.json()["id"])
            done = await other.post(f"/v1/uploads/{upload}/complete", json={"part_ids": parts})
            file = done.json()["file"]["id"]
            assert (await web.client.get(f"/v1/files/{file}/content")).content == content
            # A page of a list goes on at another one, too.
            await web.client.post(
                "/v1/files", data={"purpose": "batch"}, files={"file": ("b.jsonl", content)}
            )
            first = (await web.client.get("/v1/files", params={"limit": 1})).json()
            rest = await other.get("/v1/files", params={"limit": 1, "after": first["last_id"]})
            assert first["has_more"]
            assert [each["id"] for each in rest.json()["data"]] == [file]

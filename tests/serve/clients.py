#!/usr/bin/env python3
"""Asks a server through the clients that people have: huggingface_hub's InferenceClient, as it asks Text Embeddings Inference, and OpenAI's own.
Vectors are those of sentence-transformers; what is wrong is raised as the clients' own exceptions. Needs huggingface_hub, numpy and openai.
usage: clients.py COMPRESS_SERVE GOLDENS"""
import base64
import json
import os
import struct
import sys
import tempfile

import openai
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError

from serving import Server, expect, expect_close, fail, head_folder, rank_folder, sentence_folder

PROGRAM, GOLDENS = sys.argv[1:]


def raised(kind, what, call):
    try:
        found = call()
    except kind as error:
        return error
    fail(f"{what}: found {found}, expected {kind.__name__}")


def inference_client(url, texts, vectors):
    client = InferenceClient(model=url, token="secret")
    endpoint = InferenceClient(model=url, provider="hf-inference", token="secret")
    expect((endpoint.health_check(), endpoint.get_endpoint_info()["model_id"]), (True, "sentence"), "health_check() and get_endpoint_info()")
    for text, vector in zip(texts, vectors):
        found = client.feature_extraction(text, truncate=True)
        expect((found.shape, str(found.dtype)), ((1, len(vector)), "float32"), "an array of feature_extraction()")
        expect_close(found[0].tolist(), vector, f"feature_extraction({text!r})")
    for found, vector in zip(client.feature_extraction(texts, truncate=True), vectors):
        expect_close(found.tolist(), vector, "feature_extraction() of a list")
    expect_close(client.feature_extraction(texts[0], prompt_name="query")[0].tolist(), vectors[0], "the default prompt by its name")
    plain, part = client.feature_extraction(texts[0], prompt_name="document")[0], client.feature_extraction(texts[0], dimensions=3)[0]
    if abs(plain - vectors[0]).max() < 1e-3:
        fail("found the same vector with an empty prompt")
    expect_close([sum(part * part)], [1.0], "the length of three numbers of a vector")
    ends = [client.feature_extraction(texts[1], truncate=True, truncation_direction=end) for end in ("left", "right")]
    if abs(ends[0] - ends[1]).max() < 1e-3:
        fail("found the same vector of a text's beginning and end")
    wanted = [sum(x * y for x, y in zip(vectors[0], other)) for other in (vectors[0], vectors[2])]
    expect_close(client.sentence_similarity(texts[0], [texts[0], texts[2]]), wanted, "sentence_similarity()")
    best = client.text_classification("the quick", model=url + "/predict")
    _, answer, _ = server.ask("POST", "/predict", {"inputs": "the quick"}, {"Authorization": "Bearer secret"})
    expect({"label": best.label, "score": best.score}, json.loads(answer)[0], "the best of text_classification()")
    expect(client.question_answering(question="a b", context="c d a b c", model=url + "/question_answering").answer in "c d a b c", True,
           "question_answering()")
    for what, status, call in (("a text that is too long", 413, lambda: client.feature_extraction(texts[1])),
                               ("a prompt that there is not", 422, lambda: client.feature_extraction("a", prompt_name="passage")),
                               ("no text", 400, lambda: client.feature_extraction([])),
                               ("a wrong key", 401, lambda: InferenceClient(model=url, token="wrong").feature_extraction("a"))):
        expect(raised(HfHubHTTPError, what, call).response.status_code, status, what)


def openai_client(url, texts, vectors):
    client = openai.OpenAI(base_url=url + "/v1", api_key="secret", max_retries=0)
    short = [0, 2]  # of texts; the others are too long
    own, wanted = [texts[i] for i in short], [vectors[i] for i in short]
    for options in ({}, {"encoding_format": "float"}):
        answer = client.embeddings.create(model="sentence", input=own, **options)
        for entry, vector in zip(answer.data, wanted):
            expect_close(entry.embedding, vector, f"embeddings.create({options})")
    expect((answer.model, answer.object, [entry.index for entry in answer.data]), ("sentence", "list", [0, 1]), "the answer")
    expect(answer.usage.prompt_tokens, answer.usage.total_tokens, "tokens")
    coded = client.embeddings.create(model="sentence", input=own[0], encoding_format="base64").data[0].embedding
    numbers = client.embeddings.create(model="sentence", input=own[0], encoding_format="float").data[0].embedding
    expect(coded, base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode(), "base64 of the same numbers")
    expect(len(client.embeddings.create(model="sentence", input=[[2, 7, 3]], dimensions=4).data[0].embedding), 4, "dimensions")
    cut = client.embeddings.create(model="sentence", input=texts[1], extra_body={"truncate": True}).data[0].embedding
    expect_close(cut, vectors[1], "a text that is cut")
    expect([model.id for model in client.models.list()][:2], ["sentence", "tiny"], "models.list()")
    expect(client.models.retrieve("tiny").id, "tiny", "models.retrieve()")

    def create(model="sentence", of="a", **options):
        return lambda: client.embeddings.create(model=model, input=of, **options)

    raised(openai.AuthenticationError, "a wrong key", openai.OpenAI(base_url=url + "/v1", api_key="wrong", max_retries=0).models.list)
    for what, kind, call in (("a text that is too long", openai.BadRequestError, create(of=texts[1])), ("no text", openai.BadRequestError, create(of=[])),
                             ("too many numbers", openai.BadRequestError, create(dimensions=1000)), ("an unknown model", openai.NotFoundError, create("ada")),
                             ("too many texts", openai.BadRequestError, create(of=["a"] * 1000)), ("a time that is no time", openai.InternalServerError, create(
                                 of=["good film"] * 256, extra_headers={"X-Request-Timeout-Ms": "1"}))):
        if len(str(raised(kind, what, call))) < 30:
            fail(f"{what}: found nothing said of it")


with tempfile.TemporaryDirectory() as place:
    folder, all_texts, all_vectors = sentence_folder(GOLDENS, place, "a default prompt")
    keys = os.path.join(place, "keys")
    with open(keys, "w", encoding="utf-8") as file:
        file.write("secret\n")
    with Server(PROGRAM, folder, os.path.join(GOLDENS, "model/tiny"), rank_folder(GOLDENS, place), head_folder(GOLDENS, place, "question_answering"),
                "--api-key-file", keys) as server:
        address = f"http://127.0.0.1:{server.port}"
        inference_client(address, all_texts, all_vectors)
        openai_client(address, all_texts, all_vectors)
        expect(server.stop(), (0, ""), "the end")

"""An OpenAI-shaped server of a real small language model, with real log-probabilities: echo, top_logprobs, samples.

``python -m tests.servers.lm MODEL.gguf`` prints its port. It needs torch, transformers and gguf.
"""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

ONE = Lock()


class LM:
    """A causal language model read from a GGUF file."""

    def __init__(self, path: Path) -> None:
        torch.set_num_threads(1)
        self.tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
        self.model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
        self.model.eval()

    def logprobs(self, ids: list[int]) -> torch.Tensor:
        with torch.inference_mode():
            return torch.log_softmax(self.model(torch.tensor([ids])).logits[0].double(), -1)

    def completion(self, body: dict[str, Any]) -> dict[str, Any]:
        """Echo with log-probabilities, and one greedy token."""
        text = body["prompt"]
        found = self.tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
        ids, offsets = found["input_ids"], [a for a, _ in found["offset_mapping"]]
        table = self.logprobs(ids)
        scores = [None, *(float(table[i, t]) for i, t in enumerate(ids[1:]))]
        new = int(table[-1].argmax())
        more = self.tokenizer.decode([new])
        tokens = [text[a:b] for a, b in found["offset_mapping"]]
        logprobs = {
            "tokens": [*tokens, more],
            "token_logprobs": [*scores, float(table[-1, new])],
            "text_offset": [*offsets, len(text)],
        }
        choice = {"text": text + more, "logprobs": logprobs, "finish_reason": "length", "index": 0}
        return {"choices": [choice], "usage": {"prompt_tokens": len(ids), "completion_tokens": 1}}

    def chat(self, body: dict[str, Any]) -> dict[str, Any]:
        """The first token's top log-probabilities, or `n` sampled answers."""
        ids = self.tokenizer.apply_chat_template(body["messages"], add_generation_prompt=True, return_dict=False)
        if body.get("logprobs"):
            last = self.logprobs(ids)[-1]
            top = last.topk(int(body["top_logprobs"]))
            listed = [
                {"token": self.tokenizer.decode([int(i)]), "logprob": float(v)} for v, i in zip(top.values, top.indices)
            ]
            content = [{**listed[0], "top_logprobs": listed}]
            choices = [{"message": {"content": listed[0]["token"]}, "logprobs": {"content": content}}]
            return {"choices": choices, "usage": {"prompt_tokens": len(ids), "completion_tokens": 1}}
        made = self.model.generate(
            torch.tensor([ids]),
            attention_mask=torch.ones(1, len(ids), dtype=torch.long),
            do_sample=True,
            temperature=body["temperature"],
            max_new_tokens=body["max_tokens"],
            num_return_sequences=body["n"],
            pad_token_id=self.tokenizer.eos_token_id,
        )
        texts = self.tokenizer.batch_decode(made[:, len(ids) :], skip_special_tokens=True)
        used = {"prompt_tokens": len(ids), "completion_tokens": int((made.shape[1] - len(ids)) * len(texts))}
        return {"choices": [{"message": {"content": t}} for t in texts], "usage": used}


def main() -> None:
    lm = LM(Path(sys.argv[1]))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with ONE:
                answer = lm.chat(body) if self.path.endswith("/chat/completions") else lm.completion(body)
            self.reply(answer)

        def do_GET(self) -> None:
            self.reply({"data": [{"id": "smollm2"}]})

        def reply(self, answer: Any) -> None:
            text = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Handler)
    server.serve_forever()


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Times the published network in PyTorch beside eelsvae-bench, on the same device in the same call.

    compare_pytorch.py --bench build/release/eelsvae-bench [--device cuda] [--batch 1 8 64] [--precision bf16 tf32]
                       [--seconds 1] [--budget 240] [--json FILE] [--markdown FILE]
    compare_pytorch.py --bench build/release/eelsvae-bench --device cpu --batch 1 2 8 --precision bf16 fp32 --budget 3600

Both sides do the same work per repetition, serially. Training: tiles from pinned host memory to the device, forward
pass with a sampled latent vector, cross-entropy over the energy axis plus KL, backward pass, clipping of the global
gradient norm at 3.53, Adam, losses back to the host. Inference: tiles to the device, reconstruction at the posterior's
mean in the targets' units, back to pinned host memory. Times are medians after warm-up, PyTorch's by CUDA events.

PyTorch has channels_last_3d, cudnn.benchmark and fused Adam, and is timed as it is (eager), with the whole step captured
as a CUDA graph (graph), with torch.compile (compile), and with both (compile+graph). tf32: TF32 for products and
convolutions; bf16: autocast in training, in inference weights that are bf16 from the start, which is faster. On a CPU
there are eager and compile (inference frozen, so that oneDNN gets packed weights and fused operations), times are the
clock's, and a cell whose repetitions take longer than ten seconds each has two of them after one to warm up.

The two take turns: for each precision and mode eelsvae-bench, then PyTorch without torch.compile; and once all of that
is done, eelsvae-bench again and PyTorch with it. The faster of our two medians could flatter, so the slower one counts.
PyTorch runs in processes of its own, so that one that the system ends for want of memory is a cell with the reason, as is
a variant that fails. When the budget (seconds for everything) is used up, the cells that are left say so.
"""

import argparse
import gc
import importlib
import json
import multiprocessing
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import torch

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "fixtures"))
import cvae_pytorch  # noqa: E402

MODES = ("training", "inference")
VARIANTS = ("eager", "graph", "compile", "compile+graph")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--bench", help="eelsvae-bench; without it only PyTorch is timed")
    parser.add_argument("--device", default="cuda", help="cuda or cpu")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--precision", nargs="+", default=["bf16", "tf32"], choices=["fp32", "tf32", "bf16"])
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, help="default: all that the device has")
    parser.add_argument("--seconds", type=float, default=1.0, help="time for each cell, after its warm-up")
    parser.add_argument("--budget", type=float, default=240.0, help="seconds for everything")
    parser.add_argument("--energy", type=int, default=cvae_pytorch.PUBLISHED["energy"])
    parser.add_argument("--config", help="configuration of the network, as for eelsvae-bench; default: the published one")
    parser.add_argument("--json", help="write the results here, again after every cell")
    parser.add_argument("--markdown", help="write the table here as well")
    arguments = parser.parse_args()
    if not arguments.variants:
        arguments.variants = [v for v in VARIANTS if arguments.device != "cpu" or not v.endswith("graph")]
    return arguments


def sizes_of(arguments):
    sizes = dict(cvae_pytorch.PUBLISHED, energy=arguments.energy)
    if arguments.config:
        config = json.loads(pathlib.Path(arguments.config).read_text())
        model, tiles = config.get("model", {}), config.get("tiles", {})
        sizes.update({key: model[key] for key in ("channels", "hidden") if key in model})
        sizes["latent"] = model.get("latent_dim", sizes["latent"])
        sizes["image_size"] = tiles.get("image_size", sizes["image_size"])
    return sizes


class Network:
    """The network in one mode and precision, and a step of it on static buffers."""

    def __init__(self, sizes, mode, precision, device):
        self.mode, self.device, self.sizes = mode, device, sizes
        self.cuda = device.type == "cuda"
        self.autocast = precision == "bf16" and mode == "training"
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
        self.type = torch.bfloat16 if precision == "bf16" and mode == "inference" else torch.float32
        torch.manual_seed(1)
        self.model = cvae_pytorch.CVAE3D(**sizes, device=device).to(self.type, memory_format=torch.channels_last_3d)
        self.optimizer = self.compiled = None
        if mode == "training":
            self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-4, fused=True, capturable=self.cuda)
        else:
            self.model.requires_grad_(False)

    def prepare(self, batch):
        shape = (batch, 1, self.sizes["image_size"], self.sizes["image_size"], self.sizes["energy"])
        self.host = torch.rand(shape)
        self.host_out = torch.empty(shape if self.mode == "inference" else (2, batch))
        if self.cuda:
            self.host, self.host_out = self.host.pin_memory(), self.host_out.pin_memory()
        self.tiles = torch.empty(shape, device=self.device)
        self.noise_shape = (batch, self.sizes["latent"])

    def losses(self, tiles, noise):
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.autocast):
            mu, logvar, logits = self.model(tiles, noise)
        mu, logvar = mu.float(), logvar.float()
        reconstruction = cvae_pytorch.reconstruction_loss("cross_entropy", logits.float(), tiles)
        return torch.stack([reconstruction, cvae_pytorch.kl_divergence(mu, logvar)])

    def reconstruct(self, tiles):
        mu, _ = self.model.encoder(tiles.to(self.type)).chunk(2, dim=1)
        logits = self.model.decoder(mu).float()
        return torch.softmax(logits, dim=-1) * tiles.sum(-1, keepdim=True)

    def compute(self, compiled=None):
        """What one step does on the device; returns what the host gets."""
        if self.mode == "inference":
            with torch.no_grad():
                return (compiled or self.reconstruct)(self.tiles)
        self.optimizer.zero_grad(set_to_none=True)
        losses = (compiled or self.losses)(self.tiles, torch.randn(self.noise_shape, device=self.device))
        losses.sum(0).mean().backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 3.53)
        self.optimizer.step()
        return losses.detach()

    def variant(self, name):
        """A callable that queues one whole step."""
        compiled = None
        if name.startswith("compile"):
            if not hasattr(torch, "compile"):
                raise RuntimeError("no torch.compile in this version")
            self.compiled = self.compiled or torch.compile(
                self.reconstruct if self.mode == "inference" else self.losses, dynamic=False)
            compiled = self.compiled

        def step():
            self.tiles.copy_(self.host, non_blocking=True)
            self.host_out.copy_(self.compute(compiled), non_blocking=True)

        if not name.endswith("graph"):
            return step
        if not self.cuda:
            raise RuntimeError("no CUDA graphs on this device")
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                step()
        torch.cuda.current_stream().wait_stream(side)
        if self.optimizer:
            self.optimizer.zero_grad(set_to_none=True)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
        return graph.replay


def timed(step, cuda, seconds):
    """Seconds of every repetition, each waited for."""
    samples, warm_up, needed, end = [], 3 if cuda else 1, 3, None
    while len(samples) < needed or (len(samples) < 1000 and time.monotonic() < end):
        if cuda:
            torch.cuda.synchronize()
            begin, done = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            step()
            done.record()
            done.synchronize()
            sample = begin.elapsed_time(done) / 1e3
        else:
            start = time.perf_counter()
            step()
            sample = time.perf_counter() - start
        if sample > 10:
            needed = 2
        if warm_up:
            warm_up -= 1
            end = time.monotonic() + seconds
        else:
            samples.append(sample)
    return samples


def run_ours(arguments, precision, mode):
    """{batch: median seconds, or the reason why there are none} of one run of eelsvae-bench."""
    reason = "not measured"
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "bench.json")
        command = [arguments.bench, "--device", arguments.device, "--precision", precision, "--energy", str(arguments.energy),
                   f"--{mode}", "--seconds", str(arguments.seconds / 3), "--json", file, "--batch", *map(str, arguments.batch)]
        if arguments.config:
            command += ["--config", arguments.config]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=arguments.budget / 3)
            if done.returncode != 0:
                reason = one_line(done.stderr) or f"status {done.returncode}"
        except subprocess.TimeoutExpired as error:
            reason = f"not done after {error.timeout:.0f} s"
        # A run that did not come to its end leaves what it had measured.
        found = json.loads(pathlib.Path(file).read_text())["measurements"] if os.path.exists(file) else []
    measured = {m["batch"]: m.get("left_out") or m["step_seconds"]["median"] for m in found}
    return {batch: measured.get(batch, reason) for batch in arguments.batch}


def one_line(text):
    return " ".join(str(text).split())[:120].replace("|", "/")


class Torch:
    """PyTorch in a process of its own, with one network."""

    def __init__(self, arguments, precision, mode):
        context = multiprocessing.get_context("fork")  # this process never starts CUDA or threads of PyTorch
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=self.work, args=(arguments, precision, mode, theirs), daemon=True)
        self.process.start()
        theirs.close()

    @staticmethod
    def work(arguments, precision, mode, pipe):
        """Answers (batch, variant) with median seconds or the reason why there are none, until the other end closes."""
        adjustment = pathlib.Path("/proc/self/oom_score_adj")
        if adjustment.exists():
            adjustment.write_text("1000")  # where memory runs out, this process goes first
        device = torch.device(arguments.device)
        cuda, network = device.type == "cuda", None
        torch.backends.cudnn.benchmark = True
        if not cuda and hasattr(torch, "_inductor"):
            importlib.import_module("torch._inductor.config").freezing = True  # has effect without gradients only
        while True:
            batch, variant = pipe.recv()
            try:
                network = network or Network(sizes_of(arguments), mode, precision, device)
                network.prepare(batch)
                pipe.send(statistics.median(timed(network.variant(variant), cuda, arguments.seconds)))
            except Exception as error:  # whatever a framework may throw is a cell of the table
                pipe.send(one_line(f"{type(error).__name__}: {error}"))
            gc.collect()
            if cuda:
                torch.cuda.empty_cache()

    def measure(self, batch, variant):
        self.pipe.send((batch, variant))
        try:
            return self.pipe.recv()
        except EOFError:
            self.process.join()
            return f"ended by signal {-self.process.exitcode}"

    def alive(self):
        return self.process.is_alive()

    def end(self):
        self.process.kill()
        self.process.join()


def in_own_process(function):
    """What the function returns, called where it may start CUDA."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(function)


class Table:
    def __init__(self, arguments, description):
        self.arguments, self.description, self.rows = arguments, description, {}
        for precision in arguments.precision:
            for mode in MODES:
                for batch in arguments.batch:
                    self.rows[precision, mode, batch] = {"ours": []}

    def ratio(self, row):
        """Time of the best PyTorch variant over ours: above 1 ours is faster."""
        ours = [value for value in row["ours"] if isinstance(value, float)]
        theirs = [row[v] for v in VARIANTS if isinstance(row.get(v), float)]
        return min(theirs) / max(ours) if ours and theirs else None

    def markdown(self):
        def cell(value):
            return f"{1e3 * value:.3f}" if isinstance(value, float) else (value or "")

        variants = self.arguments.variants
        lines = [self.description, "", "Milliseconds a step or reconstruction, medians; last column: best PyTorch / ours.", "",
                 "| precision | mode | batch | ours, first | ours, again | " + " | ".join(variants) + " | ratio |",
                 "|---|---|---:|---:|---:|" + "---:|" * len(variants) + "---:|"]
        for (precision, mode, batch), row in self.rows.items():
            ours = (row["ours"] + [None, None])[:2]
            ratio = self.ratio(row)
            cells = [precision, mode, str(batch), *map(cell, ours), *(cell(row.get(v)) for v in variants)]
            lines.append("| " + " | ".join(cells) + f" | {f'{ratio:.2f}' if ratio else 'n/a'} |")
        return "\n".join(lines) + "\n"

    def save(self):
        if self.arguments.json:
            rows = [dict(precision=p, mode=m, batch=b, ratio=self.ratio(row), **row) for (p, m, b), row in self.rows.items()]
            write(self.arguments.json, json.dumps({"description": self.description, "rows": rows}, indent=2) + "\n")
        if self.arguments.markdown:
            write(self.arguments.markdown, self.markdown())


def write(path, text):
    temporary = f"{path}.part"
    pathlib.Path(temporary).write_text(text)
    os.replace(temporary, path)


def main():
    arguments = parse_arguments()
    deadline = time.monotonic() + arguments.budget
    cuda = torch.device(arguments.device).type == "cuda"
    name = in_own_process(torch.cuda.get_device_name) if cuda else f"CPU, {os.cpu_count()} threads"
    libraries = f"CUDA {torch.version.cuda}, cuDNN {in_own_process(torch.backends.cudnn.version)}, " if cuda else ""
    table = Table(arguments, f"{name}; PyTorch {torch.__version__}, {libraries}"
                             f"{cvae_pytorch.parameter_count(**sizes_of(arguments)):,} parameters, "
                             f"{time.strftime('%Y-%m-%d', time.gmtime())}")

    def measure_ours(precision, mode):
        began = time.monotonic()
        found = run_ours(arguments, precision, mode)
        for batch in arguments.batch:
            table.rows[precision, mode, batch]["ours"].append(found[batch])
        table.save()
        print(f"{precision} {mode} eelsvae-bench: {found} ({time.monotonic() - began:.0f} s)", file=sys.stderr, flush=True)

    def measure_pytorch(precision, mode, variants):
        process = None
        for batch in arguments.batch:
            for variant in variants:
                began = time.monotonic()
                if began > deadline:
                    value = "no time left"
                else:
                    if not process or not process.alive():
                        process = Torch(arguments, precision, mode)
                    value = process.measure(batch, variant)
                table.rows[precision, mode, batch][variant] = value
                print(f"{precision} {mode} {batch} {variant}: {value} ({time.monotonic() - began:.0f} s)", file=sys.stderr,
                      flush=True)
                table.save()
        if process:
            process.end()

    compiled = [v for v in arguments.variants if v.startswith("compile")]
    for variants in ([v for v in arguments.variants if v not in compiled], compiled):
        for precision in arguments.precision if variants else ():
            for mode in MODES:
                if arguments.bench and time.monotonic() <= deadline:
                    measure_ours(precision, mode)
                measure_pytorch(precision, mode, variants)
    table.save()
    print(table.markdown(), end="")


if __name__ == "__main__":
    main()

"""The processes that train one run together, and the little that they say to each other.

A run has one process, `ALONE`, or several. Of several each takes its share of every batch and holds
its shard of the parameters (torch's FSDP2); rank 0 alone writes, evaluates and answers, the others
follow it step by step. Everything here does nothing for one process, whose bits stay its own.

A group trains one run and ends with its processes. A rank that has died ends the others: at once
where its connections close, after PATIENCE where it only went silent.
"""

from __future__ import annotations

import json
import socket
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from model.training.spec import RunSpec

if TYPE_CHECKING:
    from torch._C._distributed_c10d import TCPStore

    from model.architecture.decoder import Decoder

JOIN = timedelta(minutes=5)  # for all ranks to come
PATIENCE = timedelta(minutes=10)  # with a silent rank; rank 0 writes and evaluates meanwhile
POLL_SECONDS = 0.2
PART_SECONDS = 5.0  # that rank 0 waits for the others as it ends
JOB, OVER, LEFT = "job", "over", "left"  # keys of the store


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among those of its run; what all must call together says so."""

    rank: int = 0
    size: int = 1
    store: TCPStore | None = None

    @property
    def first(self) -> bool:
        """Whether this process writes."""
        return self.rank == 0

    def check(self, spec: RunSpec) -> None:
        """Raise ValueError where some rank would have no row, or the model is to be compiled."""
        if spec.batch < self.size:
            raise ValueError(
                f"a batch of {spec.batch} sequences cannot be shared by {self.size} ranks\n"
                "train it with fewer tasks"
            )
        if spec.execution.compile and self.size > 1:
            raise ValueError("compile = true is for one process; train it with one task")

    def rows(self, batch: int) -> slice:
        """This rank's neighbouring rows of a batch; shares differ by one row at most."""
        return slice(self.rank * batch // self.size, (self.rank + 1) * batch // self.size)

    def weighted(self, loss: Tensor, rows: int, batch: int) -> Tensor:
        """This rank's mean over its rows, so that the ranks' average is the batch's mean."""
        return loss if self.size == 1 else loss * (self.size * rows / batch)

    def own(self, tensor: Tensor) -> Tensor:
        """This rank's shard, sharing its memory."""
        shard: Tensor = tensor if self.size == 1 else tensor.to_local()  # type: ignore[attr-defined]
        return shard

    def add(self, *tensors: Tensor) -> None:
        """Sum each over the ranks, in place. All call."""
        if self.size > 1:
            for tensor in tensors:
                torch.distributed.all_reduce(tensor)

    def agree(self, *flags: bool) -> tuple[bool, ...]:
        """Each flag, raised where any rank raises it. All call.

        Sent between CPUs: no CUDA queue has to wait for it.
        """
        if self.size == 1:
            return flags
        raised = torch.tensor(flags, dtype=torch.int32)
        torch.distributed.all_reduce(raised, torch.distributed.ReduceOp.MAX)
        return tuple(bool(flag) for flag in raised.tolist())

    def tell(self, key: str, value: Any) -> Any:
        """What rank 0 says, plain JSON; the others wait for it. Each key once."""
        if self.store is None:
            return value
        if self.first:
            self.store.set(key, json.dumps(value))
            return value
        return json.loads(self.store.get(key))

    @contextmanager
    def agreed(self) -> Iterator[None]:
        """What each rank checks for itself: where one may not train, all raise ValueError.

        All call. Otherwise nobody but that rank would know why the run ends.
        """
        trouble = ""
        try:
            yield
        except (ValueError, OSError) as error:
            if self.store is None:
                raise
            trouble = f"rank {self.rank} on {socket.gethostname()}: {error}"
        if self.store is not None:
            self.store.set(f"checked-{self.rank}", trouble)
            told = (self.store.get(f"checked-{rank}").decode() for rank in range(self.size))
            if found := "; ".join(text for text in told if text):
                raise ValueError(found)

    def shard(self, model: Decoder, device: str) -> None:
        """Share the parameters out, block by block, and move them to the device. All call."""
        if self.size == 1:
            return
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        # the logits are a view, and nobody writes into them
        warnings.filterwarnings("ignore", "FSDP2-wrapped module", UserWarning)
        mesh = init_device_mesh(device, (self.size,))
        for module in (*model.blocks, model.vision, model):
            if module is not None:
                fully_shard(module, mesh=mesh)

    @torch.no_grad()
    def whole(self, tensor: Tensor) -> Tensor:
        """The tensor in one piece, off the device, at rank 0; nothing elsewhere. All call."""
        if self.size == 1:
            return tensor
        gather = getattr(tensor, "full_tensor", None)
        full: Tensor = tensor if gather is None else gather()
        return full.cpu() if self.first else torch.empty(0)

    @torch.no_grad()
    def fill(self, target: Tensor, source: Tensor | None) -> None:
        """Copy rank 0's whole `source` into what may be a shard of it. All call."""
        if self.size == 1:
            assert source is not None
            target.copy_(source)
            return
        from torch.distributed.tensor import DTensor, distribute_tensor

        whole = torch.empty(target.shape, dtype=target.dtype, device=target.device)
        if source is not None:
            whole.copy_(source)
        if isinstance(target, DTensor):
            shared = distribute_tensor(whole, target.device_mesh, target.placements)
            target.to_local().copy_(shared.to_local())
        else:
            torch.distributed.broadcast(whole, 0)
            target.copy_(whole)

    def begun(self) -> bool:
        """Whether rank 0 has told the job: from here on, ranks end together."""
        return self.store is not None and self.store.check([JOB])

    def hear(self) -> Any:
        """The job that rank 0 tells; None where it ends without one."""
        assert self.store is not None
        return json.loads(self.store.get(JOB)) if self._await(JOB, OVER) == JOB else None

    def part(self) -> None:
        """Leave after rank 0, which waits a moment: who left earlier would end the others."""
        assert self.store is not None
        if not self.first:
            if self._await(OVER):
                self.store.add(LEFT, 1)
            return
        self.store.set(OVER, "")
        limit = time.monotonic() + PART_SECONDS
        while self.store.add(LEFT, 0) < self.size - 1 and time.monotonic() < limit:
            time.sleep(POLL_SECONDS / 10)

    def _await(self, *keys: str) -> str | None:
        """The first of the keys that rank 0 sets; None where it died.

        Asked over and over, so that signals are heard.
        """
        assert self.store is not None
        try:
            while True:
                for key in keys:
                    if self.store.check([key]):
                        return key
                time.sleep(POLL_SECONDS)
        except RuntimeError:  # the store went with it
            return None


ALONE = Ranks()


def join(rank: int, size: int, master: str) -> Ranks:
    """This process as one of a group, once all have come; `master` is HOST:PORT of rank 0.

    Collectives go over gloo for tensors on CPUs and over nccl for those on GPUs. Raises
    RuntimeError where not all come within JOIN.
    """
    host, _, port = master.rpartition(":")
    store: TCPStore = torch.distributed.TCPStore(  # type: ignore[attr-defined]
        host, int(port), size, is_master=rank == 0, timeout=JOIN
    )
    torch.distributed.init_process_group(
        "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo",
        store=store,
        rank=rank,
        world_size=size,
        timeout=PATIENCE,
    )
    store.set_timeout(PATIENCE)
    return Ranks(rank, size, store)

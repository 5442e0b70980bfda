"""A table of graphics cards: what their makers' data sheets say, from which the targets of GPUs are made."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Card:
    """A GPU: rates are of the whole card and without sparsity, bytes are those of the data sheet.

    A rate in bytes or operations per nanosecond is one in GB/s or GFLOP/s.
    """

    capability: str
    """Its compute capability, as compilers name it: "sm_90"."""
    multiprocessors: int
    memory_bytes: int
    l2_bytes: int
    shared_bytes: int
    """Shared memory and L1 cache of a multiprocessor, as far as blocks may have it."""
    memory_bytes_per_ns: float
    link_bytes_per_ns: float
    """To and from the host's memory, one way."""
    fp32_flops_per_ns: float
    tf32_flops_per_ns: float
    bf16_flops_per_ns: float
    gigahertz: float
    """Its boost clock."""


_GB, _MIB, _KIB = 10**9, 1 << 20, 1 << 10
_GEN4, _GEN5 = 32.0, 64.0
"""PCI Express with 16 lanes."""

CARDS = {
    # NVIDIA H100 Tensor Core GPU data sheet and architecture white paper (2022): H100 SXM5.
    "h100": Card(
        capability="sm_90",
        multiprocessors=132,
        memory_bytes=80 * _GB,
        l2_bytes=50 * _MIB,
        shared_bytes=228 * _KIB,
        memory_bytes_per_ns=3_350.0,
        link_bytes_per_ns=_GEN5,
        fp32_flops_per_ns=67_000.0,
        tf32_flops_per_ns=494_700.0,
        bf16_flops_per_ns=989_400.0,
        gigahertz=1.98,
    ),
    # NVIDIA H200 Tensor Core GPU data sheet (2024): H200 SXM, the processor of the H100 with other memory.
    "h200": Card(
        capability="sm_90",
        multiprocessors=132,
        memory_bytes=141 * _GB,
        l2_bytes=50 * _MIB,
        shared_bytes=228 * _KIB,
        memory_bytes_per_ns=4_800.0,
        link_bytes_per_ns=_GEN5,
        fp32_flops_per_ns=67_000.0,
        tf32_flops_per_ns=494_700.0,
        bf16_flops_per_ns=989_400.0,
        gigahertz=1.98,
    ),
    # NVIDIA A100 Tensor Core GPU data sheet and architecture white paper (2020, 2021): A100 80GB SXM4.
    "a100": Card(
        capability="sm_80",
        multiprocessors=108,
        memory_bytes=80 * _GB,
        l2_bytes=40 * _MIB,
        shared_bytes=164 * _KIB,
        memory_bytes_per_ns=2_039.0,
        link_bytes_per_ns=_GEN4,
        fp32_flops_per_ns=19_500.0,
        tf32_flops_per_ns=156_000.0,
        bf16_flops_per_ns=312_000.0,
        gigahertz=1.41,
    ),
    # NVIDIA L4 Tensor Core GPU data sheet (2023), whose rates with sparsity are halved; Ada white paper for the L2.
    "l4": Card(
        capability="sm_89",
        multiprocessors=58,
        memory_bytes=24 * _GB,
        l2_bytes=48 * _MIB,
        shared_bytes=100 * _KIB,
        memory_bytes_per_ns=300.0,
        link_bytes_per_ns=_GEN4,
        fp32_flops_per_ns=30_300.0,
        tf32_flops_per_ns=60_000.0,
        bf16_flops_per_ns=121_000.0,
        gigahertz=2.04,
    ),
    # NVIDIA Ada GPU architecture white paper (2022): GeForce RTX 4090, bf16 with sums in float32.
    "rtx4090": Card(
        capability="sm_89",
        multiprocessors=128,
        memory_bytes=24 * _GB,
        l2_bytes=72 * _MIB,
        shared_bytes=100 * _KIB,
        memory_bytes_per_ns=1_008.0,
        link_bytes_per_ns=_GEN4,
        fp32_flops_per_ns=82_600.0,
        tf32_flops_per_ns=82_600.0,
        bf16_flops_per_ns=165_200.0,
        gigahertz=2.52,
    ),
}

TYPICAL = {"sm_80": "a100", "sm_89": "rtx4090", "sm_90": "h100"}
"""The card whose numbers stand for a compute capability."""

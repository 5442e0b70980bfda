"""Multiply-adds on processors without the instruction, where LLVM would call the C library for each of them."""

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm

_NUMBERS = {"f32": "float", "f64": "double"}


def define_multiply_adds(module: Any) -> None:
    """Give a module whose target has no such instruction functions of its own for its multiply-adds of numbers: those
    are rounded once, as functions rely on. Those of vectors, which only sums of products are made of, become a product
    and a sum.
    """
    wanted = [function for function in module.functions if function.name.startswith("llvm.fma.")]
    for function in wanted:
        kind = function.name.removeprefix("llvm.fma.")
        function.name = f"multiply_add_{kind}" if kind in _NUMBERS else f"llvm.fmuladd.{kind}"
    if any(function.name.startswith("multiply_add_") for function in wanted):
        defined = llvm.parse_assembly(_SOURCE)
        defined.triple, defined.data_layout = module.triple, module.data_layout
        module.link_in(defined)
        for kind in _NUMBERS:
            module.get_function(f"multiply_add_{kind}").linkage = llvm.Linkage.internal


# float32: the product of two float32 is a float64, and to round the sum to that first makes a difference for one in
# 2**29 sums. float64: product and sum each as two numbers (T. J. Dekker; D. E. Knuth), of which the small ones are
# rounded to odd before the last sum, so that it is rounded once (S. Boldo and G. Melquiond). Halves of factors near the
# largest number overflow: then, and where anything is not finite, it is the plain sum of the product.
_SOURCE = """
define float @multiply_add_f32(float %a, float %b, float %c) alwaysinline {
  %x = fpext float %a to double
  %y = fpext float %b to double
  %z = fpext float %c to double
  %p = fmul double %x, %y
  %s = fadd double %p, %z
  %r = fptrunc double %s to float
  ret float %r
}

define double @multiply_add_f64(double %a, double %b, double %c) alwaysinline {
  %as = fmul double %a, 134217729.0
  %ad = fsub double %as, %a
  %ah = fsub double %as, %ad
  %al = fsub double %a, %ah
  %bs = fmul double %b, 134217729.0
  %bd = fsub double %bs, %b
  %bh = fsub double %bs, %bd
  %bl = fsub double %b, %bh
  %p = fmul double %a, %b
  %hh = fmul double %ah, %bh
  %e1 = fsub double %hh, %p
  %hl = fmul double %ah, %bl
  %e2 = fadd double %e1, %hl
  %lh = fmul double %al, %bh
  %e3 = fadd double %e2, %lh
  %ll = fmul double %al, %bl
  %pl = fadd double %e3, %ll

  %t = fadd double %c, %pl
  %tb = fsub double %t, %c
  %ta = fsub double %t, %tb
  %tc = fsub double %c, %ta
  %td = fsub double %pl, %tb
  %tl = fadd double %tc, %td

  %v = fadd double %p, %t
  %vb = fsub double %v, %p
  %va = fsub double %v, %vb
  %vc = fsub double %p, %va
  %vd = fsub double %t, %vb
  %vl = fadd double %vc, %vd

  %w = fadd double %tl, %vl
  %wb = fsub double %w, %tl
  %wa = fsub double %w, %wb
  %wc = fsub double %tl, %wa
  %wd = fsub double %vl, %wb
  %we = fadd double %wc, %wd
  %bits = bitcast double %w to i64
  %last = and i64 %bits, 1
  %even = icmp eq i64 %last, 0
  %inexact = fcmp one double %we, 0.0
  %away = fmul double %w, %we
  %grows = fcmp ogt double %away, 0.0
  %step = select i1 %grows, i64 1, i64 -1
  %adjusts = and i1 %even, %inexact
  %by = select i1 %adjusts, i64 %step, i64 0
  %oddbits = add i64 %bits, %by
  %odd = bitcast i64 %oddbits to double
  %exact = fadd double %v, %odd

  %plain = fadd double %p, %c
  %difference = fsub double %exact, %exact
  %finite = fcmp ord double %difference, 0.0
  %r = select i1 %finite, double %exact, double %plain
  ret double %r
}
"""

"""Operations: the plain form, and those that suit a backend or a shape.

A file for each: `product`, `attention`, `recurrence`, `loss`, `experts`, `windows`. The
forms of attention stand in `attention_blocks`, `attention_gpu` and `attention_tpu`, and
`attention_forms` chooses. `placement` is all that models and kernels know of a mesh.
"""

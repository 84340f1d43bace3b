"""Solutions to lesson 9."""

from minielectra.ops.reference.attention import attention_backward, attention_forward


def row_sums(do, o):
    return (do * o).sum(axis=-1, keepdims=True)


def cross_attention_backward(do, q, m):
    dq, dk, dv = attention_backward(do, attention_forward(q, m, m)[1])
    return dq, dk + dv  # m is key and value

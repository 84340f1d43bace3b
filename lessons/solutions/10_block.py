"""Solutions to lesson 10."""


def pre_norm_backward(dy, norm_backward, f_backward):
    dn = f_backward(dy)  # y = x + f(n)
    return dy + norm_backward(dn)  # n = norm(x)


def recomputed_backward(dy, chain, inputs):
    for half, x in zip(reversed(chain), reversed(inputs), strict=True):
        _, cache = half.forward(x)
        dy = half.backward(dy, cache)
    return dy

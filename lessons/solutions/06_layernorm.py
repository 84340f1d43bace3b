"""Solutions to lesson 6."""


def rms_norm_backward(dy, x, weight, eps):
    r = ((x * x).mean(axis=1, keepdims=True) + eps) ** -0.5
    n = x * r
    g = dy * weight  # y = weight · n
    return r * (g - n * (g * n).mean(axis=1, keepdims=True)), (dy * n).sum(axis=0)


def unbiased_backward(dy, xhat, r, weight):
    g = dy * weight
    projection = (g * xhat).sum(axis=1, keepdims=True) / (xhat.shape[1] - 1)  # var = Σ centred² / (H − 1)
    return r * (g - g.mean(axis=1, keepdims=True) - xhat * projection)

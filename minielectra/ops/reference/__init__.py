"""One operation a file: its derivation, then forward and backward as plain, pure functions.

No argument is changed, except that gradients of parameters are added into the arrays handed in for them.
These are the versions that the lessons show and that the tests hold the fast ones against.
"""

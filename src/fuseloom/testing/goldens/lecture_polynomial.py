"""Runners of the polynomial kernel and the non-local gate that the lecture on multimodal fusion names."""

from collections.abc import Mapping

import torch
from torch import Tensor

from fuseloom.errors import MissingExtraError
from fuseloom.merge.nl_gate import NonLocalGate, convert_nl_gate
from fuseloom.merge.polynomial import Polynomial
from fuseloom.nn import count_monomials
from fuseloom.testing.goldens._case import Given, Runner, apply_part, gradients, leaf, load_module

__all__ = ["RUNNERS"]


def _nl_gate(given: Given) -> dict[str, Tensor]:
    inputs = {name: leaf(given.inputs[name]) for name in ("m0", "m1")}
    dims = {name: value.shape[1] for name, value in inputs.items()}
    queries, width, keys = (given.option(name) for name in ("thw_dim", "c_dim", "tf_dim"))
    with torch.device("meta"):
        merge = NonLocalGate(dims, queries * width, num_queries=queries, num_keys=keys)
    state = convert_nl_gate(given.weights.under(""), dims, width=width, num_keys=keys)
    output = apply_part(merge, state, inputs)
    return {"output.y": output} | gradients(output, given.inputs["cotangent"], inputs)


def _polysvm(given: Given) -> dict[str, Tensor]:
    try:
        from sklearn.svm import SVC
    except ImportError as error:
        raise MissingExtraError(
            "Reproducing a support vector machine needs scikit-learn: pip install 'fuseloom[workbench]'."
        ) from error
    train, test = (_monomials(given, given.inputs[name]) for name in ("x_train", "x_test"))
    machine = SVC(kernel="precomputed", C=given.option("C"), decision_function_shape="ovo")
    machine.fit((train @ train.T).numpy(), given.inputs["y_train"].numpy())
    gram = test @ train.T
    return {
        "output.gram_test": gram,
        "output.decision_ovo": torch.from_numpy(machine.decision_function(gram.numpy())),
        "output.pred": torch.from_numpy(machine.predict(gram.numpy())),
        "output.n_support": torch.from_numpy(machine.n_support_),
    }


def _monomials(given: Given, values: Tensor) -> Tensor:
    """What the merge computes before its linear map: the map is set to the identity."""
    degree, constant = given.option("degree"), given.option("coef0")
    num = values.shape[1]
    scaled = (
        values * (given.option("gamma_value") * num) ** 0.5
    )  # the merge divides by the number of features
    streams = {"m0": scaled[:, : num // 2], "m1": scaled[:, num // 2 :]}
    size = count_monomials(num, degree, constant=constant > 0)
    merge = Polynomial(
        {name: value.shape[1] for name, value in streams.items()},
        size,
        width=None,
        degree=degree,
        constant=constant,
    )
    identity = {"weight": torch.eye(size, dtype=values.dtype)}
    monomials: Tensor = load_module(merge, identity, training=given.training)(streams)
    return monomials.detach()


RUNNERS: Mapping[str, Runner] = {
    "lecture/mb_nlgate": Runner(run=_nl_gate),
    "lecture/polysvm": Runner(run=_polysvm),
}

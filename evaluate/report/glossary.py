"""The words of the page, explained for readers who do not know the field."""

from ...prune.scores import FIDELITY, MEAN_PRECISION

MEASURES = {
    "top-1": "Share of the images whose highest output is their label.",
    FIDELITY: "Share of the images with the answer of the original network; or, where outputs "
    "are no answers, 1 less the squared error over their variance.",
    MEAN_PRECISION: "How well the outputs rank the images of each label: the mean over the labels "
    "of their average precision.",
}
"""What networks are compared by; a page explains its own measure alone."""
GLOSSARY = {
    "Filter": "One output channel of a convolution, or one unit of a linear layer. Removed filters "
    "are gone from the weights, not set to zero.",
    "MACs": "Multiply-adds of one image; a multiply-add counts one.",
    "Held-out and test images": "Held-out images are part of the training data; every choice is "
    "made on them. The test part is read once, at the end.",
    "Repair": "The weights that are left are changed by least squares so that they make up for the "
    "removed channels; refit: again, on the inputs that the smaller network has.",
    "Retraining": "Gradient steps after the repair, with the original network as teacher.",
    "Success rate": "How often a linear classifier on the output of a layer (a probe) finds the "
    "label, on held-out images.",
    "SNR": "Signal to noise: how much stronger a layer's filters answer on the labels that they "
    "select than on the others.",
    "Cluster, C_s, N_c": "Labels that a filter selects together; how many labels a cluster has, "
    "and how many clusters a filter has, on average.",
    "Noise, n": "Ones outside the blocks of the clusters in a filter's label matrix.",
    "Certificate": "Removing filters was compared with setting them to zero: the outputs are equal "
    "but for rounding.",
    "95 % interval": "Where the true value lies, given so many images. Two networks whose "
    "intervals overlap a lot cannot be told apart.",
    "Why so many filters": "A budget is met where that costs least for each multiply-add saved. "
    "The cost of a layer is what the layers that read it lose of their response, times how much "
    "that changes the outputs, where it was measured. Widths are round where the budget allows it.",
    "p50, p90": "The median of the latency, and what nine of ten calls stay below.",
}


OF_LABELS = ("Success rate", "SNR", "Cluster, C_s, N_c", "Noise, n")
"""Words of pages on what filters do to labels."""


def glossary(measure: str, *, has_labels: bool = True) -> dict[str, str]:
    """Words and their meaning, the measure of the report first.

    >>> next(iter(glossary("top-1")))
    'Top-1'
    """
    own = {name[:1].upper() + name[1:]: text for name, text in MEASURES.items() if name in measure}
    unused = () if has_labels else OF_LABELS
    return own | {name: text for name, text in GLOSSARY.items() if name not in unused}

"""What each diagnosis can and cannot show, for a person who has read its sentence."""

__all__ = ["LIMITS"]

LIMITS = {
    "emap": (
        "The score of the model beside that of the nearest sum of one function per modality. Where "
        "they are alike, this model makes no use of interactions on these rows; another model might, "
        "so it does not say that the data hold none. Combinations of rows need not be plausible, and "
        "a projection may even score higher."
    ),
    "interaction_orders": (
        "What is left of the model when at most one, two, three modalities may act together. It speaks "
        "of this model on these rows: another may use what this one does not, and combinations of rows "
        "need not be plausible."
    ),
    "pid": (
        "How much of the target each modality tells, alone or only with the other, in the data and in"
        " the model's decisions. Clusters hide what lies within them, synergy first, and few rows "
        "leave wide intervals. It says what goes together, not what causes what, nor how the model "
        "computes."
    ),
    "interaction_regression": (
        "A regression of the target on the data themselves: no model's predictions are in it. It sees "
        "products only, takes rows to be independent, and does not say what causes what. A curved effect "
        "of one modality looks like a product where the two go together."
    ),
    "reliance": (
        "What this model loses without a modality, not trained again. A modality that repeats another"
        " may be used and still be left out at no cost; a model never trained with gaps may lose more"
        " than it must."
    ),
    "shapley": (
        "The gain over knowing nothing, shared over all subsets of modalities. Modalities that say "
        "the same share the credit, so a small value does not mean that a modality says little."
    ),
    "modality_test": (
        "Permuted rows ask whether this model uses a modality; a model trained without it asks "
        "whether it is needed. Neither knows how much a model changes when it is trained again."
    ),
    "gradients": (
        "Whose encoder a training step would change most, and whether modalities ask the same of the "
        "parts they share. A large share is not importance: encoders differ in size and scale, one that "
        "has learnt its part asks for little, and the optimiser rescales steps. Pulling apart may do no harm."
    ),
    "attention": (
        "Where the weights go, beside the share of the tokens. Weight is not reliance: a modality may"
        " be looked at and say nothing, or be looked at little and decide."
    ),
    "attention_quality": (
        "One modality of each row is made worse to a degree drawn at random, and the weight on it is "
        "compared with what is left of it. It asks whether attention notices, not whether the answer "
        "suffers; a model that never met damage had no reason to learn it."
    ),
    "exchanged": (
        "What gives way in each layer, and what this model loses where nothing is exchanged. It "
        "was trained with the exchange, so it may lose more than a model that never had it. What is "
        "exchanged got little attention from the class token; that does not say that it matters little."
    ),
    "modality_maps": (
        "Where streams took from one another, and what each of them predicts after that. What is taken "
        "need not matter, and a stream that took nothing in one layer may have in an earlier one: what a "
        "modality is worth is said by leaving it out. The streams have met, so their own predictions are "
        "not those of models of one modality alone."
    ),
    "shared_space": (
        "Whether rows that are alike in one modality are alike in the other, beside rows paired at "
        "random. A fusion needs no shared space to be good, and sharing one is no sign of it. The "
        "p-values are each for itself, not corrected for how many there are."
    ),
    "robustness": (
        "How the score falls as inputs get worse, from severity 0 (not at all) to 1 (hopeless); it "
        "breaks where its lead over the best constant answer is no longer shown. Damage in the world "
        "may look different from what was tried here."
    ),
    "complementarity": (
        "What the fusion makes of rows on which models of one modality each are right or wrong. A "
        "rescue needs no interaction, since two hesitant votes can outweigh a wrong one, and some "
        "harm is the price of any rule that does not know the answer. Intervals are about rows, not "
        "about training again; rows that are shown are extremes, not a fair sample."
    ),
}
"""Name, a field of `Diagnosis`, -> two or three lines."""

/* SPDX-License-Identifier: Apache-2.0 */
/* A model's parameters by name: listed from its family's tables, looked up in a checkpoint, checked against config.json,
 * and only then loaded or initialised. */
#ifndef RT_WORKER_MODEL_PARAMS_H
#define RT_WORKER_MODEL_PARAMS_H

#include "worker/model/family.h"
#include "worker/model/model.h"
#include "worker/weights/weights.h"

struct rt_slot {
	char *name; /* as saved */
	char *other; /* the name without the family's prefix (a base model's own checkpoint), or a head's with it */
	struct tc_tensor **at; /* where the parameter goes; borrowed */
	int ndim;
	int64_t shape[3];
	enum rt_module_kind kind;
	const struct rt_module *module;
	bool bias;
	int flags;		       /* of its module */
	bool classes;		       /* its rows are the classes */
	bool decay;		       /* weight decay applies, as in the Trainer */
	const struct rt_tensor *found; /* in the checkpoint, or NULL: to be initialised */
};

struct rt_slots {
	struct rt_slot *list;
	size_t count;
};

/* Lists all parameters. layers: c->groups * c->inner of them. Release with rt_slots_release, also after a failure. */
int rt_slots_list(const struct rt_family *f, const struct rt_config *c, struct rt_body *body,
		  struct rt_layer *layers, struct rt_slots *ret, struct rt_err *err);
void rt_slots_release(struct rt_slots *s); /* a zeroed one is fine */

/* Finds each slot's tensor and checks type and shape; nothing is allocated for weights yet. new_classes: the head's last
 * layer is not taken from the checkpoint. Fills report's missing and unexpected. RT_INVALID names tensor, shape found
 * and shape wanted, or the encoder's tensors that are missing. */
int rt_slots_match(struct rt_slots *s, const struct rt_family *f, const struct rt_weights *w,
		   bool new_classes, struct rt_model_report *report, struct rt_err *err);

/* Makes all parameters, zeros yet, in scope `to`, with tc_params_new's flags. NULL and err. */
struct tc_params *rt_slots_make(struct rt_slots *s, struct tc_scope *to, int flags, struct rt_err *err);

/* What can be said once the slots are matched: fills report's initialised and parameters. RT_NO_MEMORY: more
 * numbers than the machine has room for. */
int rt_slots_report(const struct rt_slots *s, struct rt_model_report *report, struct rt_err *err);

/* Fills every parameter: read, or drawn as the library does (weights normal with
 * initializer_range, biases 0, norms 1 and 0, padding row 0). */
int rt_slots_fill(struct rt_slots *s, const struct rt_family *f, const struct rt_config *c,
		  struct tc_scope *to, struct tc_rng *rng, struct rt_err *err);

#endif

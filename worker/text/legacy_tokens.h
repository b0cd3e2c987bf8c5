/* SPDX-License-Identifier: Apache-2.0 */
/* The special and added tokens of a folder without tokenizer.json: what tokenizer_config.json, special_tokens_map.json
 * and added_tokens.json say, and what the family's class says where they are silent. */
#ifndef RT_TEXT_LEGACY_TOKENS_H
#define RT_TEXT_LEGACY_TOKENS_H

#include "base/json.h"

enum rt_role { RT_BOS, RT_EOS, RT_UNK, RT_SEP, RT_PAD, RT_CLS, RT_MASK, RT_ROLES };

/* The special tokens around texts. The ids of CLS and SEP must be known, if they are there. */
enum rt_frame {
	RT_FRAME_NONE,
	RT_FRAME_BERT,	  /* [CLS] A [SEP] and [CLS] A [SEP] B [SEP], from B on of type 1; a template */
	RT_FRAME_XLMR,	  /* <s> A </s> and <s> A </s> </s> B </s>; a template */
	RT_FRAME_ROBERTA, /* the same by RobertaProcessing */
};

/* What a class does by itself. */
struct rt_role_defaults {
	const char *tokens[RT_ROLES]; /* NULL: none */
	bool mask_lstrip;
	bool normalized[RT_ROLES]; /* matches the normalized text */
	enum rt_frame frame;
};

struct rt_legacy_tokens {
	const struct rt_role_defaults *defaults; /* borrowed */
	const json_t *config;			 /* tokenizer_config.json, borrowed */
	json_t *specials;			 /* special_tokens_map.json, where it counts; NULL: none */
	const json_t *roles[RT_ROLES]; /* what the files say: a string, an object, null; NULL: nothing */
	const json_t *ids;	       /* {"token": id…} of the vocabulary, borrowed */
	json_t *added;		       /* as a tokenizer.json lists them */
	json_t *added_ids;	       /* {"token": id…} of the same */
	size_t next_id;		       /* of the next token that the vocabulary lacks */
};

/* Finds which token has which role. defaults and config: borrowed until the release. On failure, too: release. */
int rt_legacy_tokens_init(struct rt_legacy_tokens *t, const char *dir, const json_t *config,
			  const struct rt_role_defaults *defaults, struct rt_err *err);
void rt_legacy_tokens_release(struct rt_legacy_tokens *t); /* a zeroed one is fine */
struct rt_legacy_vocab;
/* Fills added: what the files list, by id, then the tokens with a role, then the vocabulary's own. vocab: borrowed until
 * the release. RT_INVALID when a file claims an id for a token that the library would not give it. */
int rt_legacy_tokens_add(struct rt_legacy_tokens *t, const char *dir, const struct rt_legacy_vocab *vocab,
			 struct rt_err *err);

/* The token with this role, borrowed; may hold U+0000. *ret_text NULL: there is none. */
void rt_legacy_role(const struct rt_legacy_tokens *t, enum rt_role role, const char **ret_text,
		    size_t *ret_len);
/* A token's id, once added is filled; borrowed, NULL when nobody knows the token. */
const json_t *rt_legacy_id(const struct rt_legacy_tokens *t, const char *text, size_t len);

/* The post_processor of a frame, new; NULL without memory. trim_offsets, add_prefix_space: RT_FRAME_ROBERTA's. */
json_t *rt_legacy_frame(const struct rt_legacy_tokens *t, bool trim_offsets, bool add_prefix_space);

/* DIR/name's object, new. *ret stays as it is when there is no such file. */
int rt_legacy_object(const char *dir, const char *name, json_t **ret, struct rt_err *err);

#endif

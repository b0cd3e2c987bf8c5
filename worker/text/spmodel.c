/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/text/spmodel.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "worker/text/tokenizer.h"
#include "worker/text/unicode.h"

/* The wire types of protobuf; 3 and 4, groups, are not used by this message. */
enum wire { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };

/* The numbers of the fields that are read. */
enum { MODEL_PIECES = 1, MODEL_TRAINER = 2, MODEL_NORMALIZER = 3 };
enum { PIECE_TEXT = 1, PIECE_SCORE = 2, PIECE_KIND = 3 };
enum { TRAINER_TYPE = 3, TRAINER_UNK_ID = 40 };
enum { NORMALIZER_CHARSMAP = 2 };

/* A message: what is left of it lies in [at, end) of the file. */
struct message {
	const unsigned char *file;
	size_t at, end;
};

struct field {
	uint64_t number;
	enum wire wire;
	uint64_t value; /* VARINT, FIXED32, FIXED64 */
	size_t at, len; /* BYTES: where they lie in the file */
};

static int broken(size_t at, const char *why, struct rt_err *err)
{
	return rt_fail(err, RT_INVALID, "not a SentencePiece model: %s at byte %zu", why, at);
}

static int read_varint(struct message *m, uint64_t *ret, struct rt_err *err)
{
	size_t start = m->at;
	uint64_t value = 0;

	for (unsigned shift = 0; shift < 70; shift += 7) {
		unsigned char byte;

		if (m->at == m->end)
			return broken(start, "a number that is cut off", err);
		byte = m->file[m->at++];
		if (shift < 64) /* the tenth byte holds one bit */
			value |= (uint64_t)(byte & 0x7F) << shift;
		if (byte < 0x80) {
			*ret = value;
			return 0;
		}
	}
	return broken(start, "a number of more than 10 bytes", err);
}

static int read_fixed(struct message *m, size_t len, uint64_t *ret, struct rt_err *err)
{
	uint64_t value = 0;

	if (m->end - m->at < len)
		return broken(m->at, "a number that is cut off", err);
	for (size_t i = 0; i < len; i++)
		value |= (uint64_t)m->file[m->at++] << 8 * i;
	*ret = value;
	return 0;
}

/* 1: a field was read, 0: the message has ended, -1: it is broken. */
static int next_field(struct message *m, struct field *ret, struct rt_err *err)
{
	size_t start = m->at;
	uint64_t key = 0, len = 0;
	int rc = 0;

	if (m->at == m->end)
		return 0;
	if (read_varint(m, &key, err) < 0)
		return -1;
	*ret = (struct field){ .number = key >> 3, .wire = (enum wire)(key & 7) };
	switch (ret->wire) {
	case VARINT:
		rc = read_varint(m, &ret->value, err);
		break;
	case FIXED64:
		rc = read_fixed(m, 8, &ret->value, err);
		break;
	case FIXED32:
		rc = read_fixed(m, 4, &ret->value, err);
		break;
	case BYTES:
		if (read_varint(m, &len, err) < 0)
			return -1;
		if (len > m->end - m->at)
			return broken(start, "a field that is longer than what is left", err);
		ret->at = m->at;
		ret->len = (size_t)len;
		m->at += (size_t)len;
		break;
	default:
		return broken(start, "a field of an unknown kind", err);
	}
	if (rc == 0 && ret->number == 0)
		return broken(start, "a field without a number", err);
	return rc < 0 ? -1 : 1;
}

/* A known field of another wire type would be read wrongly: refuse it. */
static int expect(const struct field *f, enum wire wire, const char *name, struct rt_err *err)
{
	return f->wire == wire
		       ? 0
		       : rt_fail(err, RT_INVALID, "not a SentencePiece model: %s is of the wrong kind", name);
}

static int read_piece(const unsigned char *file, const struct field *from, struct rt_sp_piece *ret,
		      struct rt_err *err)
{
	struct message m = { file, from->at, from->at + from->len };
	struct rt_sp_piece piece = { .kind = RT_SP_NORMAL };
	struct field f;
	uint32_t bits;
	size_t bad;
	int rc;

	while ((rc = next_field(&m, &f, err)) > 0) {
		if (f.number == PIECE_TEXT) {
			if (expect(&f, BYTES, "piece", err) < 0)
				return -1;
			piece.at = (uint32_t)f.at;
			piece.len = (uint32_t)f.len;
		} else if (f.number == PIECE_SCORE) {
			if (expect(&f, FIXED32, "score", err) < 0)
				return -1;
			bits = (uint32_t)f.value;
			memcpy(&piece.score, &bits, sizeof bits);
		} else if (f.number == PIECE_KIND) {
			if (expect(&f, VARINT, "type", err) < 0)
				return -1;
			/* protobuf keeps the default where it does not know the word */
			if (f.value >= RT_SP_NORMAL && f.value <= RT_SP_BYTE)
				piece.kind = (uint8_t)f.value;
		}
	}
	if (rc < 0)
		return -1;
	if (piece.len == 0)
		return rt_fail(err, RT_INVALID, "it is empty");
	if (!rt_uc_valid((const char *)file + piece.at, piece.len, &bad))
		return rt_fail(err, RT_INVALID, "it is not UTF-8 at its byte %zu", bad);
	if (!isfinite(piece.score))
		return rt_fail(err, RT_INVALID, "its score is no number");
	*ret = piece;
	return 0;
}

static int add_piece(struct rt_sp_model *m, size_t *cap, const unsigned char *file, const struct field *f,
		     struct rt_err *err)
{
	if (m->n > RT_TOKENIZER_ID_MAX)
		return rt_fail(err, RT_INVALID, "more than %d pieces", RT_TOKENIZER_ID_MAX + 1);
	if (m->n == *cap) {
		size_t more = *cap ? 2 * *cap : 1024;
		struct rt_sp_piece *pieces = realloc(m->pieces, more * sizeof *pieces);

		if (!pieces)
			return rt_fail(err, RT_NO_MEMORY, "no memory for the vocabulary");
		m->pieces = pieces;
		*cap = more;
	}
	if (read_piece(file, f, &m->pieces[m->n], err) < 0)
		return rt_fail_in(err, "piece %zu", m->n);
	m->n++;
	return 0;
}

static int read_trainer(const unsigned char *file, const struct field *from, struct rt_sp_model *ret,
			struct rt_err *err)
{
	struct message m = { file, from->at, from->at + from->len };
	struct field f;
	int rc;

	while ((rc = next_field(&m, &f, err)) > 0) {
		if (f.number != TRAINER_TYPE && f.number != TRAINER_UNK_ID)
			continue;
		if (expect(&f, VARINT, f.number == TRAINER_TYPE ? "model_type" : "unk_id", err) < 0)
			return -1;
		if (f.number == TRAINER_TYPE)
			ret->type = (int64_t)f.value;
		else
			ret->unk_id = (int32_t)(uint32_t)f.value;
	}
	return rc;
}

static int read_normalizer(const unsigned char *file, const struct field *from, struct rt_sp_model *ret,
			   struct rt_err *err)
{
	struct message m = { file, from->at, from->at + from->len };
	struct field f;
	int rc;

	while ((rc = next_field(&m, &f, err)) > 0) {
		if (f.number != NORMALIZER_CHARSMAP)
			continue;
		if (expect(&f, BYTES, "precompiled_charsmap", err) < 0)
			return -1;
		ret->charsmap = f.len > 0 ? file + f.at : NULL;
		ret->charsmap_len = f.len;
	}
	return rc;
}

int rt_sp_model_read(const void *bytes, size_t size, struct rt_sp_model *ret, struct rt_err *err)
{
	struct message m = { bytes, 0, size };
	struct rt_sp_model model = { .type = 1 };
	struct field f;
	size_t cap = 0;
	int rc;

	if (size > UINT32_MAX)
		return rt_fail(err, RT_TOO_LARGE, "a SentencePiece model of %zu bytes is too large", size);
	while ((rc = next_field(&m, &f, err)) > 0) {
		if (f.number < MODEL_PIECES || f.number > MODEL_NORMALIZER)
			continue;
		rc = expect(&f, BYTES, "a part of it", err);
		if (rc == 0 && f.number == MODEL_PIECES)
			rc = add_piece(&model, &cap, m.file, &f, err);
		else if (rc == 0 && f.number == MODEL_TRAINER)
			rc = read_trainer(m.file, &f, &model, err);
		else if (rc == 0)
			rc = read_normalizer(m.file, &f, &model, err);
		if (rc < 0)
			break;
	}
	if (rc == 0 && model.n == 0)
		rc = rt_fail(err, RT_INVALID, "not a SentencePiece model: there are no pieces");
	if (rc < 0) {
		rt_sp_model_release(&model);
		return -1;
	}
	*ret = model;
	return 0;
}

void rt_sp_model_release(struct rt_sp_model *m)
{
	free(m->pieces);
	*m = (struct rt_sp_model){ 0 };
}

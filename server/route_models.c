/* SPDX-License-Identifier: Apache-2.0 */
/* POST /v1/models/{ref}/soft-labels: what a model says about a text, and what temperature makes of it. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "server/predictor.h"
#include "server/resolve.h"
#include "server/respond.h"
#include "server/routes.h"
#include "server/server.h"

#define TEXT_MAX	 16384 /* bytes */
#define TEMPERATURES_MAX 32

struct question {
	double temperatures[TEMPERATURES_MAX + 1]; /* the first is 1 */
	size_t n;
	char ref[1100];
};

/* ---- the answer ---- */

/* softmax(logits / T) and its entropy in nats. */
static void add_distribution(struct rt_buf *out, const struct rt_prediction *got, double temperature)
{
	double most = -INFINITY, sum = 0, entropy = 0;

	for (size_t i = 0; i < got->n; i++)
		most = fmax(most, got->logits[i] / temperature);
	for (size_t i = 0; i < got->n; i++)
		sum += exp(got->logits[i] / temperature - most);
	rt_buf_str(out, "{\"temperature\":");
	rt_json_write_real(out, temperature);
	rt_buf_str(out, ",\"probabilities\":[");
	for (size_t i = 0; i < got->n; i++) {
		double log_p = got->logits[i] / temperature - most - log(sum), p = exp(log_p);

		if (p > 0)
			entropy -= p * log_p;
		rt_buf_str(out, i ? "," : "");
		rt_json_write_real(out, p);
	}
	rt_buf_str(out, "],\"entropy\":");
	rt_json_write_real(out, entropy);
	rt_buf_char(out, '}');
}

static int answer(struct rt_req *req, const struct rt_prediction *got, void *arg, struct rt_err *err)
{
	const struct question *q = arg;
	struct rt_buf body = RT_BUF_INIT;

	rt_buf_str(&body, "{\"object\":\"model.soft_labels\",\"model\":");
	rt_json_write_str(&body, q->ref, strlen(q->ref));
	rt_buf_str(&body, ",\"labels\":[");
	for (size_t i = 0; i < got->n; i++) {
		rt_buf_str(&body, i ? "," : "");
		rt_json_write_str(&body, got->labels[i], strlen(got->labels[i]));
	}
	rt_buf_str(&body, "],\"logits\":[");
	for (size_t i = 0; i < got->n; i++) {
		rt_buf_str(&body, i ? "," : "");
		rt_json_write_real(&body, got->logits[i]);
	}
	rt_buf_str(&body, "],\"distributions\":[");
	for (size_t i = 0; i < q->n; i++) {
		rt_buf_str(&body, i ? "," : "");
		add_distribution(&body, got, q->temperatures[i]);
	}
	rt_buf_str(&body, "]}");
	return rt_answer_json(req, 200, &body, err);
}

/* ---- the question ---- */

static void read_temperatures(const json_t *list, struct question *q, struct rt_problems *problems)
{
	const json_t *v;
	size_t i;

	if (!json_is_array(list) || json_array_size(list) > TEMPERATURES_MAX) {
		rt_problems_add(problems, "/temperatures", NULL,
				"temperatures must be a list of at most %d numbers", TEMPERATURES_MAX);
		return;
	}
	json_array_foreach(list, i, v)
	{
		double t = json_number_value(v);
		char pointer[40];

		snprintf(pointer, sizeof pointer, "/temperatures/%zu", i);
		if (!json_is_number(v) || !(t > 0) || t > 1000)
			rt_problems_add(problems, pointer, NULL,
					"a temperature must be a number above 0 and at most 1000%s",
					json_is_number(v) ? "" : " (it is no number)");
		else
			q->temperatures[q->n++] = t;
	}
}

/* Fills problems; ret_text is borrowed from json. */
static void read_question(const json_t *json, struct question *q, const json_t **ret_text,
			  struct rt_problems *problems)
{
	const json_t *text = json_object_get(json, "text"),
		     *temperatures = json_object_get(json, "temperatures");
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)(uintptr_t)json, key, value)
	{
		char pointer[80];

		snprintf(pointer, sizeof pointer, "/%.60s", key);
		if (value != text && value != temperatures)
			rt_problems_add(problems, pointer, NULL,
					"unknown field '%.60s'; there are text and temperatures", key);
	}
	if (!json_is_string(text))
		rt_problems_add(problems, "/text", NULL, "text must be a text");
	else if (json_string_length(text) == 0 || json_string_length(text) > TEXT_MAX)
		rt_problems_add(problems, "/text", NULL, "text must have 1 to %d bytes (got %zu)", TEXT_MAX,
				json_string_length(text));
	q->temperatures[0] = 1;
	q->n = 1;
	if (temperatures && !json_is_null(temperatures))
		read_temperatures(temperatures, q, problems);
	*ret_text = text;
}

static int ask(struct rt_req *req, const json_t *json, struct question *q, struct rt_err *err)
{
	struct rt_problems *problems = rt_req_problems(req);
	struct rt_server *s = req->server;
	const char *ref = req->params.value[0];
	const json_t *text = NULL;
	char *dir;
	int rc;

	if (!problems) {
		free(q);
		return rt_fail(err, RT_NO_MEMORY, "no memory to ask the model");
	}
	read_question(json, q, &text, problems);
	if (problems->n > 0) {
		free(q);
		return rt_fail(err, RT_UNPROCESSABLE, "%s", problems->items[0].detail);
	}
	snprintf(q->ref, sizeof q->ref, "%s", ref);
	dir = rt_resolve_model(&s->jobs.roots, s->store, ref, err);
	if (!dir) {
		free(q);
		return -1;
	}
	rc = rt_predictor_ask(&s->predictors, req, dir, json_string_value(text), json_string_length(text),
			      answer, q, err);
	free(dir);
	return rc;
}

int rt_route_model_soft_labels(struct rt_req *req, struct rt_err *err)
{
	struct question *q;
	json_t *json;
	int rc;

	if (req->server->stopping)
		return rt_fail(err, RT_UNAVAILABLE, "the server is going down");
	json = rt_json_parse(rt_buf_text(&req->body), req->body.len, err);
	if (!json)
		return -1;
	q = calloc(1, sizeof *q);
	if (!json_is_object(json))
		rc = rt_fail(err, RT_INVALID, "the body must be a JSON object");
	else if (!q)
		rc = rt_fail(err, RT_NO_MEMORY, "no memory to ask the model");
	else
		rc = ask(req, json, q, err);
	if (!json_is_object(json))
		free(q);
	json_decref(json);
	return rc;
}

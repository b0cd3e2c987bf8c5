/* SPDX-License-Identifier: Apache-2.0 */
/* What the API's bodies look like. Appends JSON; no I/O. */
#ifndef RT_SERVER_RENDER_H
#define RT_SERVER_RENDER_H

#include "base/buf.h"
#include "server/store_checkpoints.h"
#include "server/store_events.h"
#include "server/store_jobs.h"
#include "server/store_views.h"

void rt_render_job(struct rt_buf *out, const struct rt_job *job);
void rt_render_event(struct rt_buf *out, const struct rt_event_row *row); /* on one line */
void rt_render_epoch(struct rt_buf *out, const char *job_id, const struct rt_epoch_row *row);
void rt_render_step(struct rt_buf *out, const struct rt_event_row *row); /* of train.progress */
/* With precision, recall and F1, which follow from what the worker counted. */
int rt_render_evaluation(struct rt_buf *out, const char *job_id, const struct rt_evaluation_row *row,
			 struct rt_err *err);
/* best_id, last_id: the job's, to say which one this is. */
void rt_render_checkpoint(struct rt_buf *out, const struct rt_checkpoint *c, const char *best_id,
			  const char *last_id);

/* {"object":"list","data":[ … items … ],"first_id":…,"last_id":…,"has_more":…} */
struct rt_render_list {
	struct rt_buf out;
	size_t n;
	char first_id[48], last_id[48];
};
void rt_render_list_begin(struct rt_render_list *list);
/* Before an item is appended to list->out: its id. */
void rt_render_list_item(struct rt_render_list *list, const char *id);
void rt_render_list_end(struct rt_render_list *list, bool has_more);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* TensorBoard event files: scalars and the HParams tab's records. One writer is one file is one run for TensorBoard.
 * Every record is written whole at once, so a reader meanwhile sees whole records. One thread. */
#ifndef RT_WORKER_EXPORT_TB_H
#define RT_WORKER_EXPORT_TB_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct rt_tb;

/* Makes dir/events.out.tfevents.<seconds>.retort.<n>, which names no host. dir is made if it is not there.
 * wall time of a record is the time of the call. */
int rt_tb_open(const char *dir, struct rt_tb **ret, struct rt_err *err);
/* Goes on with dir/name, which holds whole records. RT_NOT_FOUND: there is no such file. */
int rt_tb_continue(const char *dir, const char *name, struct rt_tb **ret, struct rt_err *err);
/* One number of one series: tag as the Trainer spells it, "train/loss", "eval/accuracy". NaN and infinity are fine. */
int rt_tb_scalar(struct rt_tb *tb, const char *tag, int64_t step, double value, struct rt_err *err);
/* What the HParams tab shows: an object of numbers, booleans and strings; null members are left out. Once, at the start. */
int rt_tb_hparams(struct rt_tb *tb, const json_t *values, struct rt_err *err);
enum rt_tb_status { RT_TB_SUCCESS = 1, RT_TB_FAILURE = 2, RT_TB_RUNNING = 3 };
int rt_tb_end(struct rt_tb *tb, enum rt_tb_status status, struct rt_err *err);
const char *rt_tb_name(const struct rt_tb *tb); /* the file's name in dir; borrowed */
void rt_tb_close(struct rt_tb *tb);		/* NULL is fine */

#endif

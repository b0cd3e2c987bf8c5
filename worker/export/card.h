/* SPDX-License-Identifier: Apache-2.0 */
/* The model card (README.md) of a checkpoint. For this folder only. */
#ifndef RT_WORKER_EXPORT_CARD_H
#define RT_WORKER_EXPORT_CARD_H

#include "base/buf.h"
#include "worker/export/export.h"

void rt_card_write(struct rt_buf *out, const struct rt_export *what);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* In the place of the dashboard where it is not built. */
#include "server/route_web.h"

const struct rt_web_file rt_web_files[] = { { 0 } };

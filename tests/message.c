/* SPDX-License-Identifier: Apache-2.0 */
/* print_message() for tests: every line starts with "# ", so that what a test says on the way is a comment in the TAP
 * that Meson reads. The linker puts it in the place of cmocka's (--wrap, see tests/meson.build). */
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

void __wrap_print_message(const char *const format, ...) __attribute__((format(printf, 1, 2)));

void __wrap_print_message(const char *const format, ...)
{
	static bool inside_line;
	char text[4096];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	for (char *line = text; *line;) {
		size_t len = strcspn(line, "\n");
		bool ends = line[len] == '\n';

		printf("%s%.*s%s", inside_line ? "" : "# ", (int)len, line, ends ? "\n" : "");
		inside_line = !ends;
		line += len + ends;
	}
	fflush(stdout); /* a test that crashes has said where it was */
}

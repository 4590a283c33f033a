// SPDX-License-Identifier: GPL-2.0
/*
 * Linked with one kernel's instruction analysis: instructions on stdin, 32 hex
 * digits a line, and on stdout e, s or r for each.
 */
#include <stdint.h>
#include <stdio.h>

int census_class(const uint8_t *bytes);

/* What kernel code calls on its way here, in a kernel that is being traced. */
asm(".globl __fentry__; __fentry__: ret; int3");

int main(void)
{
	uint8_t bytes[16];
	char line[64];

	while (fgets(line, sizeof(line), stdin)) {
		unsigned int i;

		for (i = 0; i < sizeof(bytes); i++) {
			if (sscanf(line + 2 * i, "%2hhx", &bytes[i]) != 1) {
				fprintf(stderr, "classify: not 16 bytes: %s", line);
				return 1;
			}
		}
		printf("%c\n", census_class(bytes));
	}
	return 0;
}

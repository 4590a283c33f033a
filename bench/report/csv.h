/* SPDX-License-Identifier: GPL-2.0 */
/* Read a CSV file with a header line, field by name. */
#ifndef METER_CSV_H
#define METER_CSV_H

#include <stdbool.h>
#include <stdio.h>

#define CSV_MAX_FIELDS	40

struct csv {
	FILE *file;
	const char *path;
	char *header[CSV_MAX_FIELDS], *field[CSV_MAX_FIELDS];
	int nr_header, nr_fields;
	char *text;
	size_t size;
};

/* Ends the program with a message when the file cannot be read. */
void csv_open(struct csv *csv, const char *path);
bool csv_next(struct csv *csv);
const char *csv_get(const struct csv *csv, const char *name);
double csv_number(const struct csv *csv, const char *name);
void csv_close(struct csv *csv);

#endif

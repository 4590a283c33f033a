// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "csv.h"

static void die(const struct csv *csv, const char *why, const char *what)
{
	fprintf(stderr, "%s: %s%s\n", csv->path, why, what);
	exit(1);
}

/* Cut @text into fields in place; quotes go, doubled ones become one. */
static int split(const struct csv *csv, char *text, char **field)
{
	int n = 0;

	for (char *in = text; ; in++) {
		bool quoted = *in == '"';
		char *out = in;

		if (n == CSV_MAX_FIELDS)
			die(csv, "too many columns", "");
		field[n++] = out;
		in += quoted;
		for (; *in && *in != '\n'; in++) {
			if (quoted && *in == '"') {
				if (in[1] != '"') {
					quoted = false;
					continue;
				}
				in++;
			} else if (!quoted && *in == ',') {
				break;
			}
			*out++ = *in;
		}
		if (*in != ',') {
			*out = '\0';
			return n;
		}
		*out = '\0';
	}
}

/* The next line that is neither empty nor a comment. */
static bool read_line(struct csv *csv)
{
	while (getline(&csv->text, &csv->size, csv->file) > 0)
		if (*csv->text != '#' && *csv->text != '\n')
			return true;
	return false;
}

void csv_open(struct csv *csv, const char *path)
{
	*csv = (struct csv) { .path = path, .file = fopen(path, "r") };
	if (!csv->file)
		die(csv, "cannot read", "");
	if (!read_line(csv))
		die(csv, "no header", "");
	csv->nr_header = split(csv, strdup(csv->text), csv->header);
}

bool csv_next(struct csv *csv)
{
	if (!read_line(csv))
		return false;
	csv->nr_fields = split(csv, csv->text, csv->field);
	if (csv->nr_fields != csv->nr_header)
		die(csv, "a line with another number of columns than the header", "");
	return true;
}

const char *csv_get(const struct csv *csv, const char *name)
{
	for (int i = 0; i < csv->nr_header; i++)
		if (!strcmp(csv->header[i], name))
			return csv->field[i];
	die(csv, "no column ", name);
	return NULL;
}

double csv_number(const struct csv *csv, const char *name)
{
	const char *s = csv_get(csv, name);
	char *end;
	double d = strtod(s, &end);

	if (!*s || *end)
		die(csv, "not a number: ", s);
	return d;
}

void csv_close(struct csv *csv)
{
	fclose(csv->file);
	free(csv->header[0]);
	free(csv->text);
}

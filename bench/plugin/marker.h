/* SPDX-License-Identifier: GPL-2.0 */
/*
 * How a guest program talks to the meter: 7-byte nops whose displacement is a
 * message.  On a machine without the meter they do nothing.
 *
 *   BEGIN, END    the window; whoever is ready runs them, they count for all
 *   HIT           one operation done, on any vCPU
 *   MUTE, UNMUTE  this vCPU stops / resumes to be measured (waiting for others)
 *   CHAR + c      one byte of the label of the windows that follow; CHAR + 0
 *                 starts a new label
 */
#ifndef METER_MARKER_H
#define METER_MARKER_H

#define METER_MAGIC	0x4d455400
#define METER_BEGIN	(METER_MAGIC + 1)
#define METER_END	(METER_MAGIC + 2)
#define METER_HIT	(METER_MAGIC + 3)
#define METER_MUTE	(METER_MAGIC + 4)
#define METER_UNMUTE	(METER_MAGIC + 5)
#define METER_CHAR	(METER_MAGIC + 0x100)
#define METER_LAST	(METER_CHAR + 0xff)

#ifndef METER_PLUGIN

#define METER_STR_(x)	#x
#define METER_STR(x)	METER_STR_(x)
#define METER_MARK(m) \
	__asm__ volatile(".byte 0x0f, 0x1f, 0x80; .long " METER_STR(m) ::: "memory")

#endif /* METER_PLUGIN */
#endif

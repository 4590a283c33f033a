// SPDX-License-Identifier: GPL-2.0
/* Print the rate of this machine's TSC in kHz, measured over 50 ms. */
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <x86intrin.h>

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_RAW, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

int main(void)
{
	uint64_t ns = now_ns(), tsc = __rdtsc(), end;

	do {
		end = now_ns();
	} while (end - ns < 50 * 1000 * 1000);
	printf("%llu\n", (unsigned long long)((__rdtsc() - tsc) * 1000000 / (end - ns)));
	return 0;
}

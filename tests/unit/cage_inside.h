/*
 * What test_cage runs as the command: the test program itself, which reports on standard output
 * what it finds inside, one "word value" a line.
 */
#ifndef TESTS_UNIT_CAGE_INSIDE_H
#define TESTS_UNIT_CAGE_INSIDE_H

/* Carries out argv[0] with its arguments; the exit status. */
int cage_inside(char **argv);

#endif

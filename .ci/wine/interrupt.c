/* Presses Ctrl-C on the console of a process: interrupt PID. */
#include <stdio.h>
#include <stdlib.h>
#include <windows.h>

int main(int argc, char **argv)
{
    DWORD process = argc == 2 ? strtoul(argv[1], NULL, 10) : 0;

    FreeConsole();
    if (!AttachConsole(process)) {
        fprintf(stderr, "process %lu has no console: error %lu\n", process, GetLastError());
        return 1;
    }
    /* It is told to all who share the console, and we are one of them now. */
    SetConsoleCtrlHandler(NULL, TRUE);
    return !GenerateConsoleCtrlEvent(CTRL_C_EVENT, 0);
}

/* The server of libfcgi, with threads that block in accept: `libfcgi WORKLOAD ADDRESS`. */
#include <fcgiapp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS = 16, LARGE = 1024 * 1024, BUFFER = 64 * 1024 };

static const char head[] = "Content-Type: text/plain\r\n\r\n";
static char page[LARGE];
static const char *workload;
static int listener;

static void answer(FCGX_Request *request)
{
    static __thread char buffer[BUFFER];

    if (strcmp(workload, "response") == 0) {
        FCGX_PutS(head, request->out);
        FCGX_PutStr(page, LARGE, request->out);
    } else if (strcmp(workload, "body") == 0) {
        int n, len = 0;
        while ((n = FCGX_GetStr(buffer, BUFFER, request->in)) > 0)
            len += n;
        FCGX_FPrintF(request->out, "%s%d\n", head, len);
    } else {
        const char *name = FCGX_GetParam("REMOTE_ADDR", request->envp);
        FCGX_FPrintF(request->out, "%sHello, %s.\n", head, name ? name : "stranger");
    }
}

static void *serve(void *unused)
{
    FCGX_Request request;

    (void)unused;
    FCGX_InitRequest(&request, listener, 0);
    while (FCGX_Accept_r(&request) == 0) {
        answer(&request);
        FCGX_Finish_r(&request);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t thread;

    if (argc < 3)
        return EXIT_FAILURE;
    workload = argv[1];
    memset(page, 'x', LARGE);
    FCGX_Init();
    listener = FCGX_OpenSocket(argv[2], 128);
    if (listener < 0)
        return EXIT_FAILURE;
    for (int i = 1; i < THREADS; i++)
        pthread_create(&thread, NULL, serve, NULL);
    serve(NULL);
    return EXIT_SUCCESS;
}

/* shelld PORT: a shell for whoever connects, one each. The lab's only way into its machines.
 *
 * What is typed on an emulated serial line gets lost under load, and busybox has no server that serves twice. There is
 * no password: the lab's network is a namespace of its own that ends with the lab. */
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int count, char **words)
{
    if (count != 2) {
        fprintf(stderr, "usage: shelld PORT\n");
        return 2;
    }
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(atoi(words[1]))};
    int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(server, (struct sockaddr *)&here, sizeof here) || listen(server, 16)) {
        perror("shelld");
        return 1;
    }
    signal(SIGCHLD, SIG_IGN);
    for (;;) {
        int client = accept(server, NULL, NULL);
        if (client < 0)
            continue;
        if (fork() == 0) {
            signal(SIGCHLD, SIG_DFL);
            setsid();
            for (int fd = 0; fd < 3; fd++)
                dup2(client, fd);
            close(client);
            execl("/bin/sh", "sh", (char *)NULL);
            _exit(127);
        }
        close(client);
    }
}

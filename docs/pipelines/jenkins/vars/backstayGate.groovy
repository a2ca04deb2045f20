// backstayGate(service: 'checkout', keyring: '/etc/backstay/keyring', server: 'https://backstay.example:8440', credentials: 'backstay-ci-token')
//
// Returns if Backstay says that this build may deploy, and ends the build in every other case. Call it where no agent is
// held (agent none): it takes one for each question, and none while it waits.
//
//   service      the target that is about to be changed
//   keyring      the fleet's keyring, a file on the agents; its verdict role has to have signed
//   server       the server's API
//   credentials  id of the secret file with the server's token
//   build        what this run is called; default: the build's number
//   digest       the release that is about to be deployed, if it is to be named
//   metrics      a JSON file of names and numbers; it has to be on the agent that `label` leads to
//   label        which agents; default: any
//   asks         how often Backstay is asked at most, 1 to 20; default 10
//   waitMost     the longest wait in all, in seconds; default 1800
//   rollbackJob  the job that is started on a verdict to roll back; default: none, the server does it itself
def call(Map config) {
  int asks = Math.min(Math.max((config.asks ?: 10) as int, 1), 20)
  int left = (config.waitMost ?: 1800) as int
  Map answer = [status: 24, waitSecs: 0]
  for (int ask = 1; ask <= asks; ask++) {
    answer = this.ask(config)
    if (answer.status != 20 || ask == asks || left < answer.waitSecs) { break }
    left -= answer.waitSecs
    sleep time: answer.waitSecs, unit: 'SECONDS'
  }
  if (answer.status == 0) { return }
  if (answer.status == 22) {
    if (config.rollbackJob) {
      def job = build job: config.rollbackJob, propagate: false, wait: true, parameters: [
        string(name: 'TARGET', value: config.service), string(name: 'CAUSE', value: "build ${env.BUILD_NUMBER}")
      ]
      currentBuild.description = job.result == 'SUCCESS' ? 'Auto-rollback executed' : "Auto-rollback ended ${job.result}"
    }
    error('Stopped by auto-rollback')
  }
  error("Stopped by Backstay: the gate ended with ${answer.status}")
}

// One question. It never throws because of an answer: the number says what it was.
private Map ask(Map config) {
  int status = 24
  int waitSecs = 0
  // Through the environment, and never into the text of a script: a name can't become a command.
  List told = [
    "BACKSTAY_SERVICE=${config.service}", "BACKSTAY_BUILD=${config.build ?: env.BUILD_NUMBER}",
    "BACKSTAY_KEYRING=${config.keyring}", "BACKSTAY_SERVER=${config.server}",
    "GATE_DIGEST=${config.digest ?: ''}", "GATE_METRICS=${config.metrics ?: ''}"
  ]
  node(config.label ?: '') {
    withCredentials([file(credentialsId: config.credentials, variable: 'BACKSTAY_TOKEN_FILE')]) {
      withEnv(told) {
        status = sh(returnStatus: true, script: 'backstay gate --out verdict.json ${GATE_DIGEST:+--digest "$GATE_DIGEST"} ${GATE_METRICS:+--metrics "$GATE_METRICS"}')
        // The gate has checked that the file says what was signed.
        if (status == 20) { waitSecs = Math.min(Math.max(readJSON(file: 'verdict.json').wait_secs, 5), 900) }
      }
    }
  }
  return [status: status, waitSecs: waitSecs]
}
